//! The SMT solver, an external program.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

use cedar_policy::Schema;
use cedar_policy_symcc::err::Error;
use cedar_policy_symcc::solver::LocalSolver;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicySet, Env};
use spanner_core::text::error_chain;
use tokio::runtime::Runtime;

use super::ProveError;
use super::kindred::Kindred;
use super::query::{PLAIN, Query};
use crate::schema;

/// The program `cvc5`, which [`prove`](super::prove) uses as its solver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solver {
    program: OsString,
    patience: Duration,
}

/// A running solver.
pub(super) struct Session {
    solver: Solver,
    schema: Schema,
    runtime: Runtime,
    compiler: CedarSymCompiler<LocalSolver>,
}

/// The solver's answer.
pub(super) enum Answer {
    Holds,
    Fails(Box<Env>),
    Unknown(String),
}

impl Solver {
    /// Uses the program named by the environment variable `CVC5`, or `cvc5` on the path.
    ///
    /// # Errors
    /// [`ProveError::NoSolver`] if it does not start.
    pub fn find() -> Result<Self, ProveError> {
        Self::at(std::env::var_os("CVC5").unwrap_or_else(|| "cvc5".into()))
    }

    /// Uses this program.
    ///
    /// # Errors
    /// [`ProveError::NoSolver`] if it does not start.
    pub fn at(program: impl Into<OsString>) -> Result<Self, ProveError> {
        let program = program.into();
        let mut version = Command::new(&program);
        version.arg("--version").stdin(Stdio::null());
        let why = match version.output() {
            Ok(output) if output.status.success() => {
                return Ok(Self {
                    program,
                    patience: PATIENCE,
                });
            }
            Ok(output) => output.status.to_string(),
            Err(error) => error.to_string(),
        };
        Err(ProveError::NoSolver {
            program: program.to_string_lossy().into_owned(),
            why,
        })
    }

    /// The time limit for one question, of which there are up to 150. Default: 30 seconds. A kind of
    /// request that takes longer counts as not proved.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn start(&self) -> Result<CedarSymCompiler<LocalSolver>, ProveError> {
        let limit = format!("--tlimit-per={}", self.patience.as_millis());
        let mut command = tokio::process::Command::new(&self.program);
        command.args(["--lang", "smt", &limit]).kill_on_drop(true);
        let solver =
            LocalSolver::from_command(&mut command).map_err(|error| ProveError::NoSolver {
                program: self.program.to_string_lossy().into_owned(),
                why: error.to_string(),
            })?;
        CedarSymCompiler::new(solver).map_err(|error| failed(&error))
    }
}

impl Session {
    pub(super) fn start(solver: &Solver) -> Result<Self, ProveError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ProveError::Solver(error.to_string()))?;
        let compiler = {
            let _inside = runtime.enter();
            solver.start()?
        };
        let (schema, _) = Schema::from_cedarschema_str(schema::TEXT)
            .map_err(|error| ProveError::Solver(error.to_string()))?;
        Ok(Self {
            solver: solver.clone(),
            schema,
            runtime,
            compiler,
        })
    }

    /// Asks whether `wider` allows everything that `narrower` allows. If not, the answer has a
    /// counterexample, in simple circumstances if possible.
    pub(super) fn ask(&mut self, kindred: &Kindred, query: &Query) -> Result<Answer, ProveError> {
        let answer = self.put(kindred, query)?;
        if let Answer::Fails(_) = answer {
            for circumstances in PLAIN {
                let plainly = self.put(kindred, &query.plainly(circumstances)?)?;
                if let Answer::Fails(_) = plainly {
                    return Ok(plainly);
                }
            }
        }
        Ok(answer)
    }

    fn put(&mut self, kindred: &Kindred, query: &Query) -> Result<Answer, ProveError> {
        let request = kindred.request();
        let compile = |set| {
            CompiledPolicySet::compile(set, &request, &self.schema).map_err(|error| failed(&error))
        };
        let (narrower, wider) = (compile(&query.narrower)?, compile(&query.wider)?);
        let asking = self
            .compiler
            .check_implies_with_counterexample_opt(&narrower, &wider);
        match self.runtime.block_on(asking) {
            Ok(None) => Ok(Answer::Holds),
            Ok(Some(env)) => Ok(Answer::Fails(Box::new(env))),
            Err(Error::SolverUnknown) => Ok(Answer::Unknown(UNKNOWN.to_owned())),
            // After an error the solver cannot be used for the next question.
            Err(error) => {
                let _inside = self.runtime.enter();
                self.compiler = self.solver.start()?;
                Ok(Answer::Unknown(told(&error)))
            }
        }
    }
}

fn failed(error: &Error) -> ProveError {
    ProveError::Solver(told(error))
}

/// An error with its causes, on one line.
fn told(error: &Error) -> String {
    error_chain(error).replace('\n', " ")
}

const UNKNOWN: &str = "the solver could not tell in time";

/// The default time limit. Most questions take milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
