//! Proves that a change of access allows nothing beyond what its difference shows.
//!
//! [`Cedar::diff`] lists gains and losses of the principals that either access names, assuming the
//! best possible credential. [`prove`] asks an SMT solver about *all* requests: any party in any
//! groups, any model, any context.
//!
//! 1. Both accesses are translated to plain Cedar policies. Grants become static policies, since
//!    linked templates cannot be analysed. Guardrails in shadow mode are left out.
//! 2. A request that the new access allows must have been allowed before, unless the difference
//!    lists it as a gain. A request that the old access allowed must still be allowed, unless the
//!    difference lists it as a loss. The solver is asked both for each kind of party, action and
//!    kind of resource.
//! 3. Only requests that a guard can make are considered: an endpoint belongs to exactly one model
//!    and one environment, an assurance is from 0 to 3, and a party's groups are of its issuer.
//! 4. A counterexample is a readable request. Both accesses decide it again; if they do not confirm
//!    it, the kind of request counts as not proved.
//! 5. If the solver does not answer in time, the kind of request counts as *not proved*.
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
//! A proof covers one party and one question. A request with an actor or with several models is
//! allowed only if each of its questions is. A proof covers credentials that list all groups. It
//! relies on the translation of Cedar to SMT (`cedar-policy-symcc`, whose semantics is proved in
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

/// The result of [`prove`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// The difference between the two accesses.
    pub difference: Difference,
    /// Requests that only the new access allows and that the difference does not show: at most one
    /// for each kind of party, action and kind of resource.
    pub gains: Vec<Counterexample>,
    /// Requests that only the old access allows and that the difference does not show.
    pub losses: Vec<Counterexample>,
    /// Kinds of requests for which there is neither a proof nor a counterexample.
    pub unproved: Vec<Unproved>,
    /// The number of questions that the solver was asked.
    pub asked: usize,
}

/// A kind of request for which there is neither a proof nor a counterexample.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unproved {
    /// The kind of party that makes the request.
    pub kind: CallerKind,
    /// The action.
    pub action: Action,
    /// Whether the resource is a model rather than the server as a whole.
    pub on_models: bool,
    /// The reason.
    pub why: String,
}

/// Why nothing could be proved or refuted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// The solver cannot be started.
    #[error(
        "the solver `{program}` cannot be started ({why}): install cvc5 (Debian: `apt-get install cvc5`), or name the program in the environment variable CVC5"
    )]
    NoSolver {
        /// The program that was started.
        program: String,
        /// The error of the operating system.
        why: String,
    },
    /// A policy cannot be translated for the solver.
    #[error("the policy `{policy}` cannot be put to the solver: {why}")]
    Policy {
        /// Its id.
        policy: String,
        /// What is wrong.
        why: String,
    },
    /// The solver stopped, or its answer could not be read.
    #[error("the solver failed: {0}")]
    Solver(String),
}

/// Proves that replacing `old` by `new` changes exactly what their [difference](Cedar::diff) shows:
/// nobody can do more or less. Blocks, possibly for minutes.
///
/// # Errors
/// [`ProveError`] if the solver cannot be used. Kinds of requests without an answer are in
/// [`Proof::unproved`] instead.
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
    /// A request that `to` allows and `from` refuses, if there is one, or the reason why this is
    /// unknown.
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
    /// Whether it is proved that nobody can do more or less than the difference shows.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.gains.is_empty() && self.losses.is_empty() && self.unproved.is_empty()
    }

    /// Whether it is proved that nobody can do more than the difference shows. Losses are ignored.
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
