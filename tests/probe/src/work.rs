//! What programs in Rust do all day: threads, a channel, a socket, a file, a child.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc;

use anyhow::{Context, ensure};

const THREADS: u64 = 4;

/// Does it, and says what came of it.
pub(crate) fn run(is_child: bool) -> anyhow::Result<()> {
    if is_child {
        println!("from a child");
        return Ok(());
    }
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let sender = sender.clone();
            scope.spawn(move || sender.send((number, number * number)));
        }
    });
    drop(sender);
    let squares: HashMap<_, _> = receiver.into_iter().collect();
    println!("{}", squares.values().sum::<u64>());

    let (mut ours, mut theirs) = UnixStream::pair()?;
    let told = std::thread::spawn(move || {
        let mut told = String::new();
        theirs.read_to_string(&mut told).map(|_| told)
    });
    ours.write_all(b"from a thread")?;
    ours.shutdown(Shutdown::Both)?;
    println!("{}", told.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??);

    let path = std::env::temp_dir().join(format!("probe-{}", std::process::id()));
    std::fs::write(&path, vec![b'x'; 100_000])?;
    println!("{}", std::fs::read(&path)?.len());
    std::fs::remove_file(&path)?;

    let output = Command::new(std::env::current_exe()?).args(["work", "--child"]).output();
    let output = output.context("no child")?;
    ensure!(output.status.success(), "the child failed");
    print!("{}", String::from_utf8(output.stdout)?);
    Ok(())
}
