//! Real signatures of every kind, every way in which one can be invalid, and what stock `ssh-keygen -Y verify` says of the same. Ours
//! accepts nothing that it refuses; where ours is stricter, the case says so.

use super::keys::{AMY, BEA, Case, Keys, fixture, run, time};
use crate::consent::key::KeyKind;
use crate::consent::signature::Rejected;
use crate::consent::sshsig::Presence;

const PLAN: &str = "interlock-plan@v1";
const BYTES: &[u8] = b"interlock_plan: 1\nrunbook: restart\n";

/// What stock `ssh-keygen -Y verify` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stock {
    Refuses,
    /// It takes what ours refuses, as docs/policy.md says.
    Takes,
}

/// A key that may sign, or a certificate (its name ends with `-cert`) by the authority `ca`.
struct Signer<'k> {
    keys: &'k Keys,
    name: &'static str,
}

impl Signer<'_> {
    fn case(&self) -> Case {
        Case {
            bytes: BYTES.to_vec(),
            signature: self.keys.sign(self.name, PLAN, BYTES),
            signers: self.line(AMY, ""),
            revoked: None,
            people: vec![AMY, BEA],
            at: time("2026-11-22T12:00:00Z"),
        }
    }

    /// A line of the signers file that gives this key to a person, with more options.
    fn line(&self, person: &str, options: &str) -> String {
        if self.name.ends_with("-cert") {
            let options = if options.is_empty() { String::new() } else { format!(",{options}") };
            return format!("{person} cert-authority{options} {}\n", self.keys.public("ca"));
        }
        format!("{person} {options} {}\n", self.keys.public(self.name))
    }
}

fn insert(at: usize, byte: u8, signature: &[u8]) -> Vec<u8> {
    [&signature[..at], &[byte], &signature[at..]].concat()
}

/// Every way to be invalid: what differs, what ours says, what the stock program says.
fn ways_to_be_invalid(signer: &Signer<'_>) -> Vec<(&'static str, Case, &'static str, Stock)> {
    let good = signer.case();
    let keys = signer.keys;
    let with = |change: &dyn Fn(&mut Case)| {
        let mut case = good.clone();
        change(&mut case);
        case
    };
    let bare = signer.name.trim_end_matches("-cert").to_owned();
    let krl = {
        let path = keys.text_path("krl");
        let _ = std::fs::remove_file(&path);
        run("ssh-keygen", &["-q", "-k", "-f", &path, &keys.text_path(&format!("{bare}.pub"))]);
        std::fs::read(path).unwrap()
    };
    let end = good.signature.windows(5).rposition(|part| part == b"\n----").unwrap();
    vec![
        ("other bytes", with(&|case| case.bytes.push(b'\n')), "the signature is over other bytes", Stock::Refuses),
        ("no bytes", with(&|case| case.bytes.clear()), "the signature is over other bytes", Stock::Refuses),
        (
            "another namespace",
            with(&|case| case.signature = keys.sign(signer.name, "file", BYTES)),
            "it was made for another purpose, the namespace `file`: sign again with `-n interlock-plan@v1`",
            Stock::Refuses,
        ),
        (
            "our other namespace",
            with(&|case| case.signature = keys.sign(signer.name, "interlock-override@v1", BYTES)),
            "it was made for another purpose, the namespace `interlock-override@v1`",
            Stock::Refuses,
        ),
        (
            "revoked by a list",
            with(&|case| case.revoked = Some(format!("# gone\n{}\n", keys.public(&bare)).into_bytes())),
            "signed by amy@example.org with the key SHA256:",
            Stock::Refuses,
        ),
        (
            "revoked by a KRL",
            with(&|case| case.revoked = Some(krl.clone())),
            "signed by amy@example.org with the key SHA256:",
            Stock::Refuses,
        ),
        (
            "expired",
            with(&|case| case.signers = signer.line(AMY, "valid-before=\"20261122115959Z\"")),
            "signed by amy@example.org with a key that expired on 2026-11-22 11:59:59 UTC",
            Stock::Refuses,
        ),
        (
            "not yet valid",
            with(&|case| case.signers = signer.line(AMY, "valid-after=\"202611221201Z\"")),
            "signed by amy@example.org with a key that is not valid before 2026-11-22 12:01:00 UTC",
            Stock::Refuses,
        ),
        (
            "an unknown key",
            with(&|case| case.signers = format!("{AMY} {}\n", keys.public("stranger"))),
            "it was made with the unknown key SHA256:",
            Stock::Refuses,
        ),
        (
            "a namespace that the key is not for",
            with(&|case| case.signers = signer.line(AMY, "namespaces=\"git,file\"")),
            "signed by amy@example.org with a key that line 1 of the signers file does not permit for `interlock-plan@v1`",
            Stock::Refuses,
        ),
        (
            "a namespace that is taken back",
            with(&|case| case.signers = signer.line(AMY, "namespaces=\"*,!interlock-*\"")),
            "signed by amy@example.org with a key that line 1 of the signers file does not permit",
            Stock::Refuses,
        ),
        (
            "somebody whom the policy does not name",
            with(&|case| case.signers = signer.line("eve@example.org", "")),
            if signer.name.ends_with("-cert") {
                "its certificate `a-certificate` names"
            } else {
                "it was made with the key SHA256:"
            },
            Stock::Refuses,
        ),
        (
            "a truncated signature",
            with(&|case| case.signature.truncate(case.signature.len() / 2)),
            "it is not a signature that counts here: it does not end",
            Stock::Refuses,
        ),
        (
            "a line too few",
            with(&|case| {
                let line = case.signature.iter().position(|b| *b == b'\n').unwrap();
                case.signature.drain(line + 1..line + 72);
            }),
            "it is not a signature that counts here",
            Stock::Refuses,
        ),
        (
            "a garbled sign",
            with(&|case| case.signature[60] = b'!'),
            "it is not a signature that counts here: it is not base64",
            Stock::Refuses,
        ),
        (
            "a changed byte of the signature itself",
            with(&|case| {
                let at = (0..end - 8).rev().find(|at| case.signature[*at] != b'\n').unwrap();
                case.signature[at] = if case.signature[at] == b'A' { b'B' } else { b'A' };
            }),
            "the signature is over other bytes than these, or was changed",
            Stock::Refuses,
        ),
        (
            "bytes after the end",
            with(&|case| case.signature.extend(b"and more\n")),
            "it is not a signature that counts here: it does not end",
            Stock::Takes,
        ),
        (
            "an empty line after the end",
            with(&|case| case.signature.push(b'\n')),
            "it is not a signature that counts here: it does not end",
            Stock::Takes,
        ),
        (
            "a blank in the base64",
            with(&|case| case.signature = insert(60, b' ', &case.signature)),
            "it is not a signature that counts here: its lines are not of one length",
            Stock::Takes,
        ),
        (
            "two signatures",
            with(&|case| case.signature = [case.signature.clone(), case.signature.clone()].concat()),
            "it is not a signature that counts here",
            Stock::Takes,
        ),
        ("nothing", with(&|case| case.signature.clear()), "it is not a signature that counts here", Stock::Refuses),
    ]
}

fn try_all(signer: &Signer<'_>) {
    let good = signer.case();
    let accepted = good.verdict().unwrap_or_else(|why| panic!("{}: {why}", signer.name));
    assert_eq!(accepted.person.as_str(), AMY);
    assert_eq!(accepted.presence, Presence::Untold);
    let listed = run("ssh-keygen", &["-l", "-f", &signer.keys.text_path(&format!("{}.pub", signer.name))]);
    assert!(listed.contains(&accepted.key.to_string()), "{listed} {}", accepted.key);
    assert_eq!(accepted.certificate.is_some(), signer.name.ends_with("-cert"));
    assert!(signer.keys.stock(&good, AMY), "{}: stock refuses what ours takes", signer.name);
    for (way, case, expected, stock) in ways_to_be_invalid(signer) {
        let why = case.why();
        assert!(why.starts_with(expected), "{} with {way}: {why}", signer.name);
        assert_eq!(signer.keys.stock(&case, AMY), stock == Stock::Takes, "{} with {way}: stock", signer.name);
    }
}

fn try_kind(kind: &str, bits: &str) {
    let keys = Keys::new();
    keys.make("key", kind, bits);
    keys.make("stranger", "ed25519", "");
    try_all(&Signer { keys: &keys, name: "key" });
}

#[test]
fn ed25519_is_taken_and_refused_as_it_should_be() {
    try_kind("ed25519", "");
}

#[test]
fn ecdsa_is_taken_and_refused_as_it_should_be() {
    for bits in ["256", "384", "521"] {
        try_kind("ecdsa", bits);
    }
}

#[test]
fn rsa_is_taken_and_refused_as_it_should_be() {
    try_kind("rsa", "3072");
}

#[test]
fn certificates_are_taken_and_refused_as_they_should_be() {
    for (kind, bits) in [("ed25519", ""), ("ecdsa", "256"), ("rsa", "3072")] {
        let keys = Keys::new();
        keys.make("ca", "ed25519", "");
        keys.make("stranger", "ed25519", "");
        keys.make("key", kind, bits);
        keys.certify("ca", "key", &["-n", AMY, "-V", "20260101Z:20270101Z"]);
        try_all(&Signer { keys: &keys, name: "key-cert" });
    }
}

#[test]
fn rsa_of_2048_bits_is_refused_though_stock_takes_it() {
    let keys = Keys::new();
    keys.make("key", "rsa", "2048");
    keys.make("other", "ed25519", "");
    let mut case = Signer { keys: &keys, name: "key" }.case();
    case.signers.push_str(&format!("{BEA} {}\n", keys.public("other")));
    assert_eq!(
        case.why(),
        "it is not a signature that counts here: an RSA key of 2048 bits is too weak: it needs 3072"
    );
    assert!(keys.stock(&case, AMY));
}

#[test]
fn a_certificate_counts_within_its_time_for_those_it_names_under_conditions_that_are_met() {
    let keys = Keys::new();
    keys.make("ca", "ed25519", "");
    keys.make("key", "ed25519", "");
    let signer = Signer { keys: &keys, name: "key-cert" };
    let mut stock_takes = Vec::new();
    let mut why = |options: &[&str], line: &str| {
        keys.certify("ca", "key", options);
        let mut case = signer.case();
        case.signers = line.replace("CA", &keys.public("ca"));
        if keys.stock(&case, AMY) {
            stock_takes.push(options.join(" "));
        }
        case.why()
    };
    let anyone = "*@example.org cert-authority CA\n";
    assert_eq!(
        why(&["-n", AMY, "-V", "20260101Z:20261122115959Z"], anyone),
        "signed by amy@example.org with a certificate that expired on 2026-11-22 11:59:59 UTC"
    );
    assert_eq!(
        why(&["-n", AMY, "-V", "20261122120001Z:20271122Z"], anyone),
        "signed by amy@example.org with a certificate that is not valid before 2026-11-22 12:00:01 UTC"
    );
    assert_eq!(
        why(&["-n", "eve@example.org"], anyone),
        "its certificate `a-certificate` names `eve@example.org`, none of whom line 1 of the signers file and the policy both know"
    );
    assert_eq!(
        why(&[], anyone),
        "its certificate `a-certificate` names nobody, none of whom line 1 of the signers file and the policy both know"
    );
    assert!(
        why(&["-n", "amy@example.org,bea@example.org"], anyone)
            .contains("gives to amy@example.org and bea@example.org")
    );
    assert!(why(&["-n", AMY], &anyone.replace('*', "bea")).contains("none of whom line 1"));
    assert_eq!(
        why(&["-n", AMY, "-O", "force-command=/bin/true"], anyone),
        "its certificate `a-certificate` has the condition `force-command`, which is not met here"
    );
    assert!(why(&["-n", AMY, "-O", "verify-required"], anyone).contains("`verify-required`, which is not met"));
    assert_eq!(
        why(&["-n", AMY, "-h"], anyone),
        "it is not a signature that counts here: it is not a user's certificate"
    );
    // A certificate does not make the bare key of its authority anybody's, nor an own key an authority.
    assert!(why(&["-n", AMY], "*@example.org CA\n").contains("unknown key"));
    assert_eq!(
        stock_takes,
        [
            "-n amy@example.org,bea@example.org",
            "-n amy@example.org -O force-command=/bin/true",
            "-n amy@example.org -O verify-required"
        ]
    );
}

#[test]
fn a_krl_reaches_certificates_by_their_number_and_a_broken_one_refuses_all() {
    let keys = Keys::new();
    keys.make("ca", "ed25519", "");
    keys.make("key", "ed25519", "");
    keys.certify("ca", "key", &["-n", AMY, "-z", "7"]);
    let krl = |serial: &str| {
        let (spec, path) = (keys.path("spec"), keys.text_path("krl"));
        std::fs::write(&spec, format!("serial: {serial}\n")).unwrap();
        let _ = std::fs::remove_file(&path);
        run("ssh-keygen", &["-q", "-k", "-f", &path, "-s", &keys.text_path("ca.pub"), spec.to_str().unwrap()]);
        std::fs::read(path).unwrap()
    };
    let mut case = Signer { keys: &keys, name: "key-cert" }.case();
    case.revoked = Some(krl("8"));
    assert!(case.verdict().is_ok());
    case.revoked = Some(krl("7"));
    assert!(case.why().ends_with("which is revoked"), "{}", case.why());
    let whole = krl("8");
    case.revoked = Some(whole[..whole.len() - 1].to_vec());
    // Which file it was, OpenSSH 8.4 does not say.
    let why = case.why();
    let (before, after) = why.split_once("Invalid KRL file").unwrap();
    assert_eq!(before, "it could not be checked: the file of revoked keys is not right: ");
    assert!(after.ends_with(": incomplete message"), "{why}");
    assert!(!keys.stock(&case, AMY));
}

#[test]
fn an_authority_cannot_sign_for_those_it_certifies() {
    let keys = Keys::new();
    keys.make("ca", "ed25519", "");
    let mut case = Signer { keys: &keys, name: "ca" }.case();
    case.signers = format!("{AMY} cert-authority {}\n", keys.public("ca"));
    assert!(case.why().contains("unknown key"));
    assert!(!keys.stock(&case, AMY));
}

#[test]
fn the_last_second_of_a_key_counts_and_the_next_does_not() {
    let keys = Keys::new();
    keys.make("key", "ed25519", "");
    let signer = Signer { keys: &keys, name: "key" };
    let mut case = signer.case();
    case.signers = signer.line(AMY, "valid-after=\"20261122120000Z\",valid-before=\"20261122130000Z\"");
    for (at, counts) in [
        ("2026-11-22T11:59:59Z", false),
        ("2026-11-22T12:00:00Z", true),
        ("2026-11-22T13:00:00Z", true),
        ("2026-11-22T13:00:01Z", false),
    ] {
        case.at = time(at);
        assert_eq!(case.verdict().is_ok(), counts, "{at}");
        assert_eq!(keys.stock(&case, AMY), counts, "{at}: stock");
    }
}

#[test]
fn a_hardware_key_that_nobody_touched_is_refused_though_stock_takes_it() {
    let keys = Keys::new();
    for (kind, algorithm) in
        [("ed25519", "sk-ssh-ed25519@openssh.com"), ("ecdsa", "sk-ecdsa-sha2-nistp256@openssh.com")]
    {
        let key = String::from_utf8(fixture(&format!("{kind}.pub"))).unwrap();
        let case = |flags: u8| Case {
            bytes: fixture("message"),
            signature: fixture(&format!("{kind}-flags{flags}.sig")),
            signers: format!("{AMY} {key}"),
            revoked: None,
            people: vec![AMY],
            at: time("2026-11-22T12:00:00Z"),
        };
        assert_eq!(
            case(0).why(),
            "it is not a signature that counts here: the hardware key that made it says that nobody touched it"
        );
        for (flags, presence) in [(1, Presence::Touched), (5, Presence::Verified)] {
            let accepted = case(flags).verdict().unwrap();
            assert_eq!((accepted.presence, accepted.algorithm.as_str()), (presence, algorithm));
        }
        for flags in [0, 1, 5] {
            assert!(keys.stock(&case(flags), AMY));
        }
        let mut other = case(1);
        other.bytes.push(b' ');
        assert!(other.why().contains("over other bytes"));
        // The flags are signed with the rest: a flag that was set afterwards fits no longer.
        let mut lifted = case(0);
        lifted.signature = {
            let text = String::from_utf8(lifted.signature).unwrap();
            let touched = String::from_utf8(case(1).signature).unwrap();
            let (head, _) = text.split_at(text.len() - 60);
            format!("{head}{}", &touched[touched.len() - 60..]).into_bytes()
        };
        assert!(matches!(lifted.verdict(), Err(Rejected::OtherBytes { .. } | Rejected::NotASignature(_))));
    }
}

#[test]
fn a_signature_made_through_a_real_agent_counts() {
    let keys = Keys::new();
    keys.make("key", "ed25519", "");
    let signer = Signer { keys: &keys, name: "key" };
    let mut case = signer.case();
    let socket = keys.text_path("agent");
    let mut agent = std::process::Command::new("ssh-agent")
        .args(["-D", "-a", &socket])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The agent says where it is as soon as it listens there.
    let mut first = [0];
    std::io::Read::read_exact(agent.stdout.as_mut().unwrap(), &mut first).unwrap();
    let tell = |program: &str, arguments: &[&str]| {
        let done = std::process::Command::new(program).args(arguments).env("SSH_AUTH_SOCK", &socket).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    tell("ssh-add", &["-q", &keys.text_path("key")]);
    std::fs::remove_file(keys.path("key")).unwrap();
    let file = keys.text_path("by-agent");
    std::fs::write(&file, BYTES).unwrap();
    tell("ssh-keygen", &["-q", "-Y", "sign", "-n", PLAN, "-f", &keys.text_path("key.pub"), &file]);
    agent.kill().unwrap();
    agent.wait().unwrap();
    case.signature = std::fs::read(keys.path("by-agent.sig")).unwrap();
    assert_eq!(case.verdict().unwrap().person.as_str(), AMY);
}

#[test]
fn one_person_may_have_several_lines_and_several_persons_one_key_never() {
    let keys = Keys::new();
    keys.make("key", "ed25519", "");
    let signer = Signer { keys: &keys, name: "key" };
    let mut case = signer.case();
    case.signers = signer.line(AMY, "valid-before=\"20200101Z\"")
        + &signer.line(AMY, "namespaces=\"git\"")
        + &signer.line(AMY, "");
    assert_eq!(case.verdict().unwrap().person.as_str(), AMY);
    case.signers = signer.line(AMY, "") + &signer.line(BEA, "");
    assert!(case.why().contains("gives to amy@example.org and bea@example.org: one key is one person's"));
    case.signers = signer.line("*@example.org", "");
    assert!(case.why().contains("one key is one person's"));
    assert!(keys.stock(&case, AMY) && keys.stock(&case, BEA));
}

#[test]
fn what_was_signed_and_with_what_is_kept() {
    let keys = Keys::new();
    keys.make("ca", "ecdsa", "384");
    keys.make("key", "rsa", "3072");
    keys.certify("ca", "key", &["-n", AMY, "-z", "42"]);
    let accepted = Signer { keys: &keys, name: "key-cert" }.case().verdict().unwrap();
    let certificate = accepted.certificate.unwrap();
    assert_eq!((certificate.serial, certificate.id.as_str()), (42, "a-certificate"));
    assert!(run("ssh-keygen", &["-l", "-f", &keys.text_path("ca.pub")]).contains(&certificate.authority.to_string()));
    assert_eq!(accepted.algorithm, "rsa-sha2-512");
    assert_eq!(accepted.over, crate::id::Digest::of(BYTES));
    assert!(KeyKind::Rsa(3072).signs_with("rsa-sha2-256") && !KeyKind::Rsa(3072).signs_with("ssh-rsa"));
}
