//! What starting, freezing, killing and recording cost, as ratios to bare programs. Run with
//! `cargo run --release --example bench-exec -- cgroup|walk [start|freeze|output]…`; the first needs root and cgroup v2.
//! Processor time is given beside wall time, since other work on the machine disturbs it less.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use interlock::exec::capture::run_captured;
use interlock::exec::command::{Command, Stdin, User};
use interlock::exec::containment::Containment;
use interlock::exec::mask::Secrets;
use interlock::exec::process::{Ended, Leftovers, OutputPlan, Running, start};
use interlock::exec::program::{PATH, Programs};
use interlock::exec::transcript::TranscriptPlan;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let folder = std::env::current_dir()?.join(format!("bench-exec.{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let outcome = measure(&folder);
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn measure(folder: &Path) -> Outcome<()> {
    let programs = Programs::default();
    let command = |argv: &[&str]| -> Outcome<Command> {
        Ok(Command {
            program: programs.find(argv[0], PATH, folder)?,
            argv: argv.iter().map(ToString::to_string).collect(),
            env: vec![("INTERLOCK_RUN".to_owned(), "bench".to_owned())],
            cwd: folder.to_owned(),
            user: User::current(),
            stdin: Stdin::Empty,
        })
    };
    let id = std::process::id();
    let begun = Instant::now();
    let mut arguments = std::env::args().skip(1);
    let tier = match arguments.next().as_deref() {
        Some("cgroup") => Containment::detect(&format!("bench-{id}")),
        Some("walk") => Containment::walk(&format!("bench-{id}")),
        Some(_) | None => return Err("which tier? cgroup or walk".into()),
    };
    let parts: Vec<String> = arguments.collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    println!("{} (chosen in {:?})", tier.describe(), begun.elapsed());
    let mut number = 0;
    let mut run = |containment: &Containment, argv: &[&str], secrets: &Secrets| -> Outcome<(Running, _)> {
        number += 1;
        let (tell, ended) = channel::<Ended>();
        let plan = OutputPlan {
            transcript: TranscriptPlan::at(folder.join(format!("{number}.cast"))),
            secrets: secrets.clone(),
            redact: None,
            on_output: Box::new(|_| {}),
            on_trouble: Box::new(|trouble| eprintln!("{trouble}")),
            leftovers: Leftovers::Fail,
        };
        let on_end = Box::new(move |end| tell.send(end).unwrap_or_default());
        Ok((start(containment, &format!("s{number}"), &command(argv)?, plan, on_end)?, ended))
    };
    let none = Secrets::none();

    const STEPS: usize = 500;
    for _ in 0..if wanted("start") { 2 } else { 0 } {
        let mut log = std::fs::File::create(folder.join("log"))?;
        log.write_all(&vec![b'\n'; 1 << 20])?;
        log.sync_all()?;
        let line = |at: usize| {
            use std::os::unix::fs::FileExt as _;
            log.write_all_at(&[b'x'; 600], at as u64 * 601).and_then(|()| log.sync_data())
        };
        // In turn, so that whatever else the machine does meets both alike.
        let mut times = [Vec::new(), Vec::new()];
        let mut cpu = [Duration::ZERO; 2];
        for block in 0..STEPS / 50 {
            let before = cpu_time()?;
            for at in 0..50 {
                let begun = Instant::now();
                std::process::Command::new("true").stdin(Stdio::null()).stdout(Stdio::null()).status()?;
                line(block * 50 + at)?;
                times[0].push(begun.elapsed());
            }
            let between = cpu_time()?;
            for at in 0..50 {
                let begun = Instant::now();
                let (_running, ended) = run(&tier, &["true"], &none)?;
                ended.recv()?;
                line(block * 50 + at)?;
                times[1].push(begun.elapsed());
            }
            cpu[0] += between - before;
            cpu[1] += cpu_time()? - between;
        }
        let bare_mean: Duration = times[0].iter().sum();
        times[0].sort_unstable();
        let bare_median = times[0][STEPS / 2];
        let names = ["bare spawn, wait and synced line", "the same through us"];
        for ((name, times), used) in names.into_iter().zip(&mut times).zip(cpu) {
            times.sort_unstable();
            let (median, mean) = (times[STEPS / 2], times.iter().sum::<Duration>());
            println!(
                "{name}: median {median:?} ({:.2}), mean {:?} ({:.2}), 99% {:?}, processor {:?} ({:.2})",
                median.as_secs_f64() / bare_median.as_secs_f64(),
                mean / 500,
                mean.as_secs_f64() / bare_mean.as_secs_f64(),
                times[STEPS * 99 / 100],
                used / 500,
                used.as_secs_f64() / cpu[0].as_secs_f64()
            );
        }
        let begun = Instant::now();
        for at in 0..200 {
            let name = format!("probe-{}-{at}", times[0][0].as_nanos());
            run_captured(&command(&["true"])?, Duration::from_secs(5), 1000, Some((&tier, &name)));
        }
        let contained = begun.elapsed() / 200;
        let begun = Instant::now();
        for _ in 0..200 {
            run_captured(&command(&["true"])?, Duration::from_secs(5), 1000, None);
        }
        println!("  captured: {contained:?} contained, {:?} plain", begun.elapsed() / 200);
    }

    if wanted("freeze") {
        for count in [1, 10, 50] {
            let (mut freezes, mut kills) = (Vec::new(), Vec::new());
            for round in 0..20 {
                let ready = folder.join(format!("ready-{count}-{round}"));
                let script = format!(
                    "ulimit -t 5; for n in $(seq {count}); do setsid sh -c 'echo >> {r}; while :; do :; done' & done; wait",
                    r = ready.display()
                );
                let (running, ended) = run(&tier, &["sh", "-c", &script], &none)?;
                while std::fs::metadata(&ready).map_or(0, |file| file.len()) < count {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let frozen = running.control().freeze();
                if let Some(trouble) = frozen.trouble {
                    println!("  trouble: {trouble}");
                }
                freezes.push(frozen.micros);
                let begun = Instant::now();
                running.control().kill();
                ended.recv()?;
                kills.push(u64::try_from(begun.elapsed().as_micros())?);
                std::fs::remove_file(&ready)?;
            }
            freezes.sort_unstable();
            kills.sort_unstable();
            println!(
                "{count} busy processes: freeze p50 {} max {} us, kill to end reported p50 {} max {} us",
                freezes[10], freezes[19], kills[10], kills[19]
            );
        }
    }

    let generators = ["head -c 1073741824 /dev/zero", "yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c 1073741824"];
    for generator in generators.into_iter().filter(|_| wanted("output")) {
        let secrets = Secrets::new([("password", "correct horse battery staple")])?;
        let mut best = [Duration::MAX; 3];
        for _ in 0..3 {
            let begun = Instant::now();
            let script = format!("{generator} | tee tee.out > /dev/null");
            std::process::Command::new("sh").arg("-c").arg(script).current_dir(folder).status()?;
            best[0] = best[0].min(begun.elapsed());
            std::fs::remove_file(folder.join("tee.out"))?;
            for (secrets, best) in [&none, &secrets].into_iter().zip(&mut best[1..]) {
                let begun = Instant::now();
                let (_running, ended) = run(&tier, &["sh", "-c", generator], secrets)?;
                let recorded = ended.recv()?.output.ok_or("no output")?;
                *best = begun.elapsed().min(*best);
                std::fs::remove_file(&recorded.path)?;
            }
        }
        println!(
            "1 GiB of `{generator}`, best of 3: tee {:?}, ours {:?} ({:.2}), with a secret {:?} ({:.2})",
            best[0],
            best[1],
            best[1].as_secs_f64() / best[0].as_secs_f64(),
            best[2],
            best[2].as_secs_f64() / best[0].as_secs_f64(),
        );
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}

/// The processor time that this process and those it waited for have used.
fn cpu_time() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(") ").ok_or("an odd stat")?.1;
    let ticks: u64 = fields.split(' ').skip(11).take(4).map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 10))
}
