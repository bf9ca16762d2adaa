//! The signers file and the list of revoked keys: what is read, and every mistake in them with its place.

use insta::assert_snapshot;

use super::keys::{Keys, run, signers, time};
use crate::consent::revoked::Revoked;
use crate::consent::signers::{Role, Signers};
use crate::diagnostic::Source;
use crate::diagnostic::render::{Colour, render_all};

/// A key that was made once; its private half is gone.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJuESRczu7549rZv87VM/ic/Px8p5izRjes6vI/I1JxY";

fn refused(text: &str) -> String {
    let (source, mistakes) = Signers::read(Source::new("signers", text)).expect_err("this file must be refused");
    render_all(&mistakes, &source, Colour::Never)
}

#[test]
fn every_part_of_a_line_is_read() {
    let text = format!(
        "# who is who\n\n\tamy@example.org,amy {KEY} Amy's laptop\r\n\"*@example.org,!bea@example.org\" \
         Cert-Authority,namespaces=\"interlock-*,git\",valid-after=\"20260101Z\",valid-before=\"202701011230Z\" {KEY}\n"
    );
    let signers = signers(&text);
    assert_eq!(signers.lines.len(), 2);
    let [own, authority] = signers.lines.as_slice() else { panic!("{signers:?}") };
    assert_eq!((own.number, own.role, authority.number, authority.role), (3, Role::Own, 4, Role::Authority));
    assert!(own.principals.matches("amy") && own.namespaces.is_none() && own.valid_before.is_none());
    assert!(authority.principals.matches("amy@example.org") && !authority.principals.matches("bea@example.org"));
    assert!(authority.namespaces.as_ref().unwrap().matches("interlock-plan@v1"));
    assert_eq!(authority.valid_after, Some(time("2026-01-01T00:00:00Z")));
    assert_eq!(authority.valid_before, Some(time("2027-01-01T12:30:00Z")));
    let keys = Keys::new();
    std::fs::write(keys.path("key.pub"), KEY).unwrap();
    assert!(run("ssh-keygen", &["-l", "-f", &keys.text_path("key.pub")]).contains(&own.key.fingerprint.to_string()));
}

#[test]
fn every_mistake_is_shown_with_its_place() {
    let text = format!(
        "amy@example.org\n\
         ,amy {KEY}\n\
         amy valid-before=20270101Z {KEY}\n\
         amy valid-before=\"20270101\" {KEY}\n\
         amy valid-before=\"20271301Z\" {KEY}\n\
         amy valid-after=\"20270101Z\",valid-before=\"20260101Z\" {KEY}\n\
         amy namespaces=\"a\",namespaces=\"b\" {KEY}\n\
         amy no-touch-required {KEY}\n\
         amy ssh-ed25519 AAAA!\n\
         amy ssh-ed25519 {}\n\
         amy ecdsa-sha2-nistp256 {}\n\
         amy\u{200b} {KEY}\n",
        &KEY[12..60],
        &KEY[12..],
    );
    assert_snapshot!(refused(&text), @r#"
    error[E0707]: `signers` line 1: a key is missing
     --> signers:1:1
      |
    1 | amy@example.org
      | ^^^^^^^^^^^^^^^
      |
      = help: after the person comes the key, as it stands in their .pub file

    error[E0707]: `signers` line 2: `,amy` has an empty pattern
     --> signers:2:1
      |
    2 | ,amy ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJuESRczu7549rZv87VM/ic/Px8p5izRjes6vI/I1JxY
      | ^^^^
      |
      = help: begin the line with the person's name

    error[E0707]: `signers` line 3: the value of `valid-before` is not in quotes
     --> signers:3:5
      |
    3 | amy valid-before=20270101Z ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJuESRczu7549rZv87VM/ic/Px8p5izRjes6vI/I1JxY
      |     ^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the options are cert-authority, namespaces="…", valid-after="…" and valid-before="…", with commas between

    error[E0708]: `20270101` is a local time, which means another moment on another machine
     --> signers:4:5
      |
    4 | amy valid-before="20270101" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJuESRczu7549rZv87VM/ic/Px8p5izRjes6vI/I1JxY
      |     ^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write it in UTC with a Z at its end, as in 20270101Z or 202701011200Z

    error[E0707]: `signers` line 5: `20271301Z` is not a time such as 20270101Z
     --> signers:5:5
      |
    5 | amy valid-before="20271301Z" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJuESRczu7549rZv87VM/ic/Px8p5izRjes6vI/I1JxY
      |     ^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the options are cert-authority, namespaces="…", valid-after="…" and valid-before="…", with commas between

    error[E0707]: `signers` line 6: the key is never valid: its end is not after its beginning
     --> signers:6:5
      |
    6 | amy valid-after="20270101Z",valid-before="20260101Z" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJuESRczu7549rZv87VM/ic/Px8p5izRjes6vI/I1JxY
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the options are cert-authority, namespaces="…", valid-after="…" and valid-before="…", with commas between

    error[E0707]: `signers` line 7: the option `namespaces` is given twice
     --> signers:7:5
      |
    7 | amy namespaces="a",namespaces="b" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJuESRczu7549rZv87VM/ic/Px8p5izRjes6vI/I1JxY
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the options are cert-authority, namespaces="…", valid-after="…" and valid-before="…", with commas between

    error[E0707]: `signers` line 8: `no-touch-required` is neither an option nor a kind of key
     --> signers:8:5
      |
    8 | amy no-touch-required ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJuESRczu7549rZv87VM/ic/Px8p5izRjes6vI/I1JxY
      |     ^^^^^^^^^^^^^^^^^
      |
      = help: the options are cert-authority, namespaces="…", valid-after="…" and valid-before="…", with commas between

    error[E0707]: `signers` line 9: it is not base64: its length is not a multiple of four
     --> signers:9:17
      |
    9 | amy ssh-ed25519 AAAA!
      |                 ^^^^^
      |
      = help: copy the key again from the .pub file

    error[E0707]: `signers` line 10: it ends within the key
      --> signers:10:17
       |
    10 | amy ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJuESRczu7549rZv87VM/ic/
       |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: copy the key again from the .pub file

    error[E0707]: `signers` line 11: the key is of the kind ssh-ed25519, and the line says `ecdsa-sha2-nistp256`
      --> signers:11:5
       |
    11 | amy ecdsa-sha2-nistp256 AAAAC3NzaC1lZDI1NTE5AAAAIJuESRczu7549rZv87VM/ic/Px8p5izRjes6vI/I1JxY
       |     ^^^^^^^^^^^^^^^^^^^
       |
       = help: copy the key again from the .pub file

    error[E0707]: `signers` line 12: it holds a character that cannot be seen
      --> signers:12:4
       |
    12 | amy� ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJuESRczu7549rZv87VM/ic/Px8p5izRjes6vI/I1JxY
       |    ^
       |
       = help: remove it
    "#);
}

#[test]
fn a_key_that_cannot_sign_is_a_warning_and_a_file_of_such_is_refused() {
    let dss = "ssh-dss AAAAB3NzaC1kc3MAAAAA";
    let (signers, warnings) =
        Signers::read(Source::new("signers", format!("amy {dss}\nbea {KEY}\n"))).expect("one key may sign");
    assert_eq!(signers.lines.len(), 1);
    assert_snapshot!(render_all(&warnings, &signers.source, Colour::Never), @"
    warning[W0701]: this key can sign nothing here: keys of the kind `ssh-dss` may not sign here
     --> signers:1:13
      |
    1 | amy ssh-dss AAAAB3NzaC1kc3MAAAAA
      |             ^^^^^^^^^^^^^^^^^^^^ not taken
      |
      = help: use Ed25519, a hardware key, ECDSA, or RSA of at least 3072 bits
    ");
    assert_snapshot!(refused(&format!("amy {dss}\n# nothing else\n")), @"
    warning[W0701]: this key can sign nothing here: keys of the kind `ssh-dss` may not sign here
     --> signers:1:13
      |
    1 | amy ssh-dss AAAAB3NzaC1kc3MAAAAA
      |             ^^^^^^^^^^^^^^^^^^^^ not taken
      |
      = help: use Ed25519, a hardware key, ECDSA, or RSA of at least 3072 bits

    error[E0704]: `signers` holds no key that may sign
     |
     = help: write a line for each person, `amy@example.org ssh-ed25519 AAAA…`: the person, and the key from their .pub file
    ");
}

#[test]
fn a_list_of_revoked_keys_in_which_a_line_is_no_key_is_refused() {
    let revoked = Revoked::read("revoked", format!("# gone\n\n{KEY} bea\n").into_bytes()).unwrap();
    assert_eq!(revoked.listed.len(), 1);
    let krl = Revoked::read("revoked", b"SSHKRL\n\0and more".to_vec()).unwrap();
    assert!(krl.listed.is_empty());
    let text = format!("{KEY}\nssh-ed25519 AAAA\nSHA256:L1vZRLK\n");
    let (source, mistakes) = Revoked::read("revoked", text.into_bytes()).unwrap_err();
    assert_snapshot!(render_all(&mistakes, &source, Colour::Never), @"
    error[E0707]: `revoked` line 2 is not a public key: it ends within the kind of key
     --> revoked:2:1
      |
    2 | ssh-ed25519 AAAA
      | ^^^^^^^^^^^^^^^^
      |
      = help: each line is a key as it stands in a .pub file; or give a KRL, made by `ssh-keygen -k`

    error[E0707]: `revoked` line 3 is not a public key: it ends within the kind of key
     --> revoked:3:1
      |
    3 | SHA256:L1vZRLK
      | ^^^^^^^^^^^^^^
      |
      = help: each line is a key as it stands in a .pub file; or give a KRL, made by `ssh-keygen -k`
    ");
}
