//! Output on its way: transcript, digest, masking, bounds, and trouble.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc::channel;

use sha2::{Digest as _, Sha256};

use super::{Bench, Exit, Leftovers, Secrets, fs, read_cast};

/// The digest of a transcript's bytes under its salt.
fn digest(salt: &str, bytes: &[u8]) -> Vec<u8> {
    let salt: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&salt[at..at + 2], 16).unwrap()).collect();
    Sha256::new().chain_update(salt).chain_update(bytes).finalize().to_vec()
}

#[test]
fn the_transcript_holds_every_byte_and_its_digest_is_as_documented() {
    let bench = Bench::new("transcript");
    let ended = bench.run("a", r#"printf 'a"\\\n\033[31m\001 \377\376 \303'; printf '\251 \364\217\236\200' >&2"#);
    let recorded = ended.output.unwrap();
    assert_eq!(recorded.trouble, None);
    let (bytes, marks, salt) = read_cast(&recorded.path);
    assert_eq!(marks, Vec::<String>::new());
    assert_eq!(recorded.bytes, bytes.len() as u64);
    assert_eq!(recorded.digest[..], digest(&salt, &bytes));
    let mut expected = b"a\"\\\n\x1b[31m\x01 \xff\xfe \xc3".to_vec();
    expected.extend_from_slice(b"\xa9 \xf4\x8f\x9e\x80");
    let (mut sorted, mut sorted_expected) = (bytes, expected);
    // The two streams may be read in either order.
    sorted.sort_unstable();
    sorted_expected.sort_unstable();
    assert_eq!(sorted, sorted_expected);
    assert_eq!(fs::metadata(&recorded.path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_step_that_writes_nothing_has_no_transcript() {
    let bench = Bench::new("silent");
    assert_eq!(bench.run("a", "true").output, None);
    assert!(!bench.path("a.cast").exists());
}

#[test]
fn the_middle_of_long_output_is_left_out_and_counted() {
    let bench = Bench::new("long");
    let mut plan = bench.plan("a");
    plan.transcript.keep_first = 100_000;
    plan.transcript.keep_last = 50_000;
    let command =
        bench.sh("i=0; while [ $i -lt 64 ]; do head -c 1000000 /dev/zero | tr '\\0' a; i=$((i+1)); done; echo end");
    let recorded = bench.start_with("a", &command, plan).end().output.unwrap();
    let total = 64_000_004;
    assert_eq!((recorded.bytes, recorded.left_out), (total, total - 150_000));
    let (bytes, marks, salt) = read_cast(&recorded.path);
    assert_eq!(bytes.len(), 150_000);
    assert!(bytes.ends_with(b"aend\n"));
    assert_eq!(marks, ["63850004 bytes are left out here"]);
    let mut all = vec![b'a'; 64_000_000];
    all.extend_from_slice(b"end\n");
    assert_eq!(recorded.digest[..], digest(&salt, &all));
    // Only the transcript is left in the folder.
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 1);
}

#[test]
fn secrets_are_masked_before_anything_sees_them_also_over_cuts() {
    let bench = Bench::new("secret");
    let mut plan = bench.plan("a");
    plan.secrets = Secrets::new([("password", "hunter2-éclair")]).unwrap();
    let script = "printf 'it is hunt'; sleep 0.05; printf 'er2-\\303'; sleep 0.05; printf '\\251clair!\\n'; printf %s hunter2-éclair | od -An -tx1 | tr -d ' \\n'; printf ' hunt'";
    let recorded = bench.start_with("a", &bench.sh(script), plan).end().output.unwrap();
    let expected = "it is [secret]!\n[secret] hunt";
    assert_eq!(bench.shown(), expected);
    let (bytes, _, salt) = read_cast(&recorded.path);
    assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
    assert_eq!(recorded.digest[..], digest(&salt, &bytes));
}

#[test]
fn secrets_of_a_service_are_wiped_from_its_output_when_it_is_let_go() {
    let bench = Bench::new("service-secret");
    let mut plan = bench.plan("a");
    plan.secrets = Secrets::new([("password", "hunter2-eclair")]).unwrap();
    let output = bench.path("service.out");
    plan.leftovers = Leftovers::Service { output: output.clone() };
    let step = bench.start_with("a", &bench.sh("echo hunter2-eclair"), plan);
    let control = step.control.clone();
    assert_eq!(step.end().ending, Exit::Code(0));
    assert_eq!(control.let_go().unwrap(), []);
    assert_eq!(bench.shown(), "[secret]\n");
    assert_eq!(fs::read(&output).unwrap(), b"");
}

#[test]
fn a_transcript_that_cannot_be_written_is_trouble_and_does_not_hang_the_step() {
    let bench = Bench::new("trouble");
    fs::write(bench.path("a.cast"), "someone else's").unwrap();
    let mut plan = bench.plan("a");
    let (tell, told) = channel();
    plan.on_trouble = Box::new(move |text| tell.send(text.to_owned()).unwrap());
    let command = bench.sh("head -c 5000000 /dev/zero; echo end");
    let ended = bench.start_with("a", &command, plan).end();
    assert_eq!(ended.ending, Exit::Code(0));
    let recorded = ended.output.unwrap();
    assert_eq!(recorded.bytes, 5_000_004);
    let trouble = recorded.trouble.unwrap();
    assert!(trouble.contains("a.cast") && trouble.contains("File exists"), "{trouble}");
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [trouble]);
    assert_eq!(fs::read_to_string(bench.path("a.cast")).unwrap(), "someone else's");
}
