//! Runs inside the containers of the end-to-end tests and of the demo, and makes the calls that they are about:
//! those that busybox has no command for, and those that take several threads or processes.
//!
//! It is linked statically, so that it runs in a root filesystem that holds nothing else.

mod callers;
mod chmod;
mod handover;
mod mounts;
mod statmount;
mod work;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Makes the system calls that the end-to-end tests are about")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Changes the mode of PATH by chmod, fchmod, fchmodat and fchmodat2, and says what each returned
    Chmod {
        /// Only these of the four
        #[arg(long, value_delimiter = ',', default_value = "chmod,fchmod,fchmodat,fchmodat2")]
        by: Vec<chmod::Way>,
        /// The file
        path: PathBuf,
    },
    /// Hands a listener of its own, for the call NAME, to the agent at SOCKET as a runtime does, then executes
    HandOver {
        /// The agent's socket
        #[arg(long)]
        socket: PathBuf,
        /// The container's name in the state that is sent
        #[arg(long)]
        id: String,
        /// The notified call
        #[arg(long)]
        syscall: String,
        /// What is executed
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Executes PROGRAM in a child while a second thread makes directories, and says how both fared
    ExecBesideThread {
        /// The program
        program: PathBuf,
    },
    /// Executes a command as another user, without capabilities and other groups
    As {
        /// The user's number
        uid: u32,
        /// The group's number
        gid: u32,
        /// What is executed
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Makes getppid calls from many threads
    Threads {
        /// How many threads
        #[arg(long, default_value_t = 8)]
        threads: usize,
        /// How many calls each
        #[arg(long, default_value_t = 1000)]
        calls: usize,
    },
    /// Starts children that make notified calls, and kills each a little later into its call
    KillCallers {
        /// How many children
        #[arg(long, default_value_t = 50)]
        children: u32,
    },
    /// Stops and continues a child again and again while it makes notified calls
    StopCallers {
        /// How many times
        #[arg(long, default_value_t = 50)]
        times: u32,
    },
    /// Makes notified calls for ever, or COUNT times
    Spin {
        /// How many times
        count: Option<u64>,
    },
    /// Mounts and unmounts, and says what each call returned
    Mounts {
        /// One a line: `mount`, `umount`, `new`, `table` or `stat`
        steps: String,
    },
    /// Does what programs in Rust do all day: threads, a channel, a socket, a file, a child
    Work {
        /// Be the child
        #[arg(long)]
        child: bool,
    },
    /// Waits for ever
    Pause,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Chmod { by, path } => chmod::report(&by, &path),
        Command::HandOver { socket, id, syscall, command } => handover::run(&socket, &id, &syscall, &command),
        Command::ExecBesideThread { program } => callers::exec_beside_thread(&program),
        Command::As { uid, gid, command } => callers::run_as(uid, gid, &command),
        Command::Threads { threads, calls } => callers::many_threads(threads, calls),
        Command::KillCallers { children } => callers::kill(children),
        Command::StopCallers { times } => callers::stop_and_continue(times),
        Command::Spin { count } => callers::spin(count),
        Command::Mounts { steps } => mounts::carry_out(&steps),
        Command::Work { child } => work::run(child),
        Command::Pause => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
    }
}
