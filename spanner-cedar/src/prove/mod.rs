//! Proves that a change of access lets nobody do more than its difference shows.
//!
//! [`Cedar::diff`] tells who gains and loses what among those that either access names, in
//! good standing. [`prove`] asks an SMT solver about *everybody*: any party in any groups, any
//! model, any circumstances.
//!
//! 1. Both accesses become plain Cedar policies: grants are written out (links of templates
//!    cannot be analysed), guardrails in shadow mode left out.
//! 2. Whoever is allowed after, and is not named as gaining it by the difference, must have
//!    been allowed before; and whoever was allowed before, and is not named as losing it, must
//!    be allowed after. Both are asked for each kind of party, action and kind of resource.
//! 3. Only requests that a guard makes are looked at: a model in an environment stands in
//!    just these two, an assurance is from 0 to 3, a party's groups are its issuer's.
//! 4. A counterexample is a request that a person can read, and it has been decided again by
//!    both accesses. One that they do not confirm counts as not proved.
//! 5. What the solver cannot tell in time is *not proved*.
//!
//! ```no_run
//! use spanner_cedar::{Cedar, Solver, prove};
//!
//! let proof = prove(&Cedar::from_dir("access")?, &Cedar::from_dir("candidate")?, &Solver::find()?)?;
//! assert!(proof.holds(), "{proof}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Caveats
//! It is about one party and one question: a request with an actor or with several models is
//! allowed only if each of its questions is. It is about credentials that list all groups. It
//! rests on the translation of Cedar into SMT (`cedar-policy-symcc`, whose meaning is proved in
//! Lean) and on the solver.

mod found;
mod kindred;
mod query;
mod solver;
mod statement;

use std::fmt;

use spanner_core::{Action, CallerKind};

pub use found::Counterexample;
pub use solver::Solver;

use crate::cedar::Cedar;
use crate::diff::Difference;
use kindred::Kindred;
use query::Query;
use solver::{Answer, Session};
use statement::Statements;

/// What was proved of a change, and what was not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// The difference that is shown of the change.
    pub difference: Difference,
    /// Requests that the change allows and the difference does not show: one for each kind of
    /// party, action and kind of resource for which there is any.
    pub gains: Vec<Counterexample>,
    /// Requests that the change refuses and the difference does not show.
    pub losses: Vec<Counterexample>,
    /// What could not be proved, and no request found against it.
    pub unproved: Vec<Unproved>,
    /// How many questions the solver was asked.
    pub asked: usize,
}

/// A kind of request of which nothing is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unproved {
    /// The kind of party that asks.
    pub kind: CallerKind,
    /// What it would do.
    pub action: Action,
    /// Whether to a model; otherwise to a server as a whole.
    pub on_models: bool,
    /// Why nothing is proved.
    pub why: String,
}

/// Why nothing could be proved or refuted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// There is no solver.
    #[error(
        "the solver `{program}` cannot be started ({why}): install cvc5 (Debian: `apt-get install cvc5`), or name the program in the environment variable CVC5"
    )]
    NoSolver {
        /// The program that was looked for.
        program: String,
        /// What the operating system says.
        why: String,
    },
    /// A policy that cannot be put to the solver.
    #[error("the policy `{policy}` cannot be put to the solver: {why}")]
    Policy {
        /// Its id.
        policy: String,
        /// What is wrong.
        why: String,
    },
    /// The solver stopped, or answered what cannot be understood.
    #[error("the solver failed: {0}")]
    Solver(String),
}

/// Proves that `new` in the place of `old` lets nobody do more, or less, than their
/// [difference](Cedar::diff) shows. Blocks; minutes are possible.
///
/// # Errors
/// [`ProveError`] where the solver cannot be used at all. What it could not tell of a kind of
/// request is in [`Proof::unproved`].
pub fn prove(old: &Cedar, new: &Cedar, solver: &Solver) -> Result<Proof, ProveError> {
    let difference = old.diff(new);
    let (before, after) = (old.current(), new.current());
    let (one, two) = (Statements::of(&before)?, Statements::of(&after)?);
    let models = statement::models(&[&before, &after]);
    let gained = statement::intents(&difference, &models, |change| &change.gains)?;
    let lost = statement::intents(&difference, &models, |change| &change.loses)?;
    let mut session = Session::start(solver)?;
    let mut proof = Proof {
        difference,
        gains: Vec::new(),
        losses: Vec::new(),
        unproved: Vec::new(),
        asked: 0,
    };
    for kindred in Kindred::all() {
        let gains = query::implies(&kindred, &two, &gained, &one)?;
        let losses = query::implies(&kindred, &one, &lost, &two)?;
        proof.asked += usize::from(gains.is_some()) + usize::from(losses.is_some());
        match session.refute(&kindred, gains.as_ref(), old, new)? {
            Ok(found) => proof.gains.extend(found),
            Err(why) => proof.unproved.push(kindred.unproved(why)),
        }
        match session.refute(&kindred, losses.as_ref(), new, old)? {
            Ok(found) => proof.losses.extend(found.map(Counterexample::reversed)),
            Err(why) => proof.unproved.push(kindred.unproved(why)),
        }
    }
    Ok(proof)
}

impl Session {
    /// A request that the second access allows and the first refuses, if there is one; or why
    /// nobody knows.
    fn refute(
        &mut self,
        kindred: &Kindred,
        query: Option<&Query>,
        from: &Cedar,
        to: &Cedar,
    ) -> Result<Result<Option<Counterexample>, String>, ProveError> {
        let Some(query) = query else {
            return Ok(Ok(None));
        };
        Ok(match self.ask(kindred, query)? {
            Answer::Holds => Ok(None),
            Answer::Fails(env) => found::replay(&env, kindred, from, to).map(Some),
            Answer::Unknown(why) => Err(why),
        })
    }
}

impl Proof {
    /// Whether it is proved that the difference is all.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.gains.is_empty() && self.losses.is_empty() && self.unproved.is_empty()
    }

    /// Whether it is proved that nobody can do more than the difference shows, whoever loses.
    #[must_use]
    pub fn widens_no_further(&self) -> bool {
        self.gains.is_empty() && self.unproved.is_empty()
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.holds() {
            return writeln!(
                f,
                "proved: nobody can do more or less than the difference shows ({} questions)",
                self.asked
            );
        }
        writeln!(f, "not proved")?;
        for (word, found) in [("can", &self.gains), ("can no longer", &self.losses)] {
            for counterexample in found {
                writeln!(f, "  {}", counterexample.sentence(word))?;
            }
        }
        for unproved in &self.unproved {
            writeln!(f, "  {unproved}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Unproved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = if self.on_models { "models" } else { "servers" };
        let Self {
            kind, action, why, ..
        } = self;
        write!(f, "not known whether a {kind} may {action} on {on}: {why}")
    }
}
