//! Count the system calls of containers, to learn what they need.
//!
//! - A [`Recorder`] counts: attached to the [`Registry`](seccomp_agent_registry::Registry) of a container's listener,
//!   it lets every call continue, or be answered as before, and remembers it.
//! - A [`Recording`] is what it saw, as a value: by architecture and call how often, when, in how many runs, how often
//!   by the runtime before it started the program, with which [`Arguments`], and who first. Recordings merge, and a run
//!   counts once however often it is merged.
//! - A [`Store`] keeps recordings in a directory, each under a [`Name`], safe from other agents and from a sudden end.
//! - [`Runs`] does so for all containers of an agent while they run, and keeps the [`Violation`]s of those whose profile
//!   leaves to the agent what it does not allow.
//! - [`Observe`] makes the profiles under which an agent is asked.
//! - [`Enforce`] makes a profile of a recording, for the runtimes that are its [`Target`], and a [`Provenance`] that says
//!   of each allowed call why.
//!
//! ```
//! use seccomp_agent_recorder::{Enforce, Recorder, Recording, Target};
//! use seccomp_agent_registry::{Call, Container, Registry, Verdict};
//! # use seccomp_agent_registry::Notification;
//!
//! let recorder = Recorder::new();
//! let mut registry = Registry::new();
//! recorder.attach(&mut registry);
//!
//! # let (notification, container) = (Notification::sample("getppid"), Container::named("web"));
//! let call = Call::new(&notification, &container);
//! assert_eq!(registry.answer(&call), Verdict::Continue);
//!
//! let mut runs = Recording::new();
//! runs.merge(&recorder.recording());
//! let seen = runs.seen(call.syscall()).unwrap();
//! assert_eq!((seen.count, seen.runs, runs.runs()), (1, 1, 1));
//!
//! let (profile, why) = Enforce::new().under(Target::Runc).profile(&runs);
//! assert!(why.allowed.contains_key("getppid"));
//! println!("{}", profile.to_json());
//! ```
mod arguments;
mod callers;
mod closure;
mod complain;
mod counts;
mod enforce;
mod facts;
mod json;
mod listening;
mod minimal;
mod name;
mod observe;
mod provenance;
mod recorder;
mod recording;
mod run_id;
mod runs;
mod seen;
mod start;
mod store;
mod target;
mod values;
mod watched;

pub use arguments::Arguments;
pub use complain::{Complaint, Violation};
pub use enforce::Enforce;
pub use json::{MAX_RECORDING_BYTES, ParseError};
pub use minimal::minimal;
pub use name::{InvalidName, Name};
pub use observe::{COMPLAIN, Observe, RECORD, UNKNOWN};
pub use provenance::{Evidence, Provenance, Reason};
pub use recorder::Recorder;
pub use recording::{Recording, UnknownCall};
pub use run_id::{InvalidRunId, RunId};
pub use runs::{Runs, Saved, Subject};
pub use seen::{FirstCaller, Origin, Seen};
pub use store::{Entry, Store, StoreError};
pub use target::{Target, UnknownTarget};
