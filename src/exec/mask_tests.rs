use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

use super::{MASK, Masker, SecretError, Secrets};

fn masked(secrets: &Secrets, chunks: &[&[u8]]) -> Vec<u8> {
    let mut masker = Masker::new(secrets);
    let mut out = Vec::new();
    for chunk in chunks {
        masker.push(chunk, &mut out);
    }
    masker.finish(&mut out);
    out
}

#[test]
fn every_documented_form_is_masked() {
    let secrets = Secrets::new([("password", "p/ä?ss \"w0rd>\n")]).unwrap();
    for form in [
        "p/ä?ss \"w0rd>",
        "p/\\u00e4?ss \\\"w0rd>\\n",
        "p\\/ä?ss \\\"w0rd>",
        "p%2F%C3%A4%3Fss%20%22w0rd%3E",
        "p%2f%c3%a4%3fss%20%22w0rd%3e%0a",
        "p%2F%C3%A4%3Fss+%22w0rd%3E",
        "702fc3a43f73732022773072643e",
        "702FC3A43F73732022773072643E",
    ] {
        let text = secrets.mask_text(&format!("<{form}>"));
        assert!(text.starts_with("<[secret]"), "{form}: {text}");
    }
}

#[test]
fn base64_is_masked_at_every_alignment() {
    // Made by `printf 'hunter2-éclair' | base64`, with 0, 1 and 2 bytes (`x`, `xy`) before and `:z` behind.
    let secrets = Secrets::new([("password", "hunter2-éclair")]).unwrap();
    for (encoded, expected) in [
        ("aHVudGVyMi3DqWNsYWly", "[secret]"),
        ("aHVudGVyMi3DqWNsYWlyOno=", "[secret]Ono="),
        ("eGh1bnRlcjItw6ljbGFpcg==", "eG[secret]"),
        ("eHlodW50ZXIyLcOpY2xhaXI=", "eHl[secret]"),
        ("eHlodW50ZXIyLcOpY2xhaXI6eg==", "eHl[secret]6eg=="),
    ] {
        assert_eq!(secrets.mask_text(encoded), expected, "{encoded}");
    }
    let secrets = Secrets::new([("password", "a?>b?>c?>")]).unwrap();
    assert_eq!(secrets.mask_text("YT8+Yj8+Yz8+ YT8-Yj8-Yz8-"), "[secret] [secret]");
}

#[test]
fn short_secrets_are_refused_without_being_shown() {
    let error = Secrets::new([("pin", " 1234\n")]).unwrap_err();
    assert_eq!(error, SecretError::TooShort { name: "pin".to_owned(), length: 4 });
    assert!(!error.to_string().contains("1234"));
    assert!(!format!("{:?}", Secrets::new([("pin", "123456")]).unwrap()).contains("123456"));
}

#[test]
fn overlapping_secrets_leave_nothing_of_either() {
    let secrets = Secrets::new([("a", "abcdefgh"), ("b", "efghijkl")]).unwrap();
    assert_eq!(secrets.mask_text("<abcdefghijkl>"), "<[secret]>");
    assert_eq!(secrets.mask_text("<abcdefghabcdefgh>"), "<[secret][secret]>");
    assert_eq!(secrets.mask_text("<abcdefg>"), "<abcdefg>");
}

#[test]
fn the_lines_of_a_long_secret_are_masked_alone() {
    let secrets = Secrets::new([("key", "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n-----END KEY-----\n")]).unwrap();
    assert_eq!(secrets.mask_text("  MIIEvQIBADANBgkqhkiG\r\n"), "  [secret]\r\n");
}

#[test]
fn no_secrets_change_nothing() {
    assert_eq!(Secrets::none().mask_text("a[secret]b"), "a[secret]b");
    assert_eq!(masked(&Secrets::none(), &[b"\xff", b"x"]), b"\xffx");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3 * ProptestConfig::default().cases / 2, ..ProptestConfig::default() })]

    /// However a text of secrets, parts of secrets and other bytes is cut, the same comes out, and no secret is in it.
    #[test]
    fn cuts_make_no_difference(
        parts in proptest::collection::vec(0_usize..9, 0..12),
        cuts in proptest::collection::vec(any::<u16>(), 0..12),
    ) {
        let secrets = Secrets::new([("a", "abababc"), ("b", "bcabab!"), ("c", "éééé")]).unwrap();
        let pieces: [&[u8]; 9] =
            [b"abababc", b"ababab", b"bcabab!", b"bcab", "éé".as_bytes(), b"YWJhYmFiYw==", b"\xc3", b"x", b"616261626162"];
        let text: Vec<u8> = parts.iter().flat_map(|part| pieces[*part]).copied().collect();
        let mut places: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut) % (text.len() + 1)).collect();
        places.push(0);
        places.push(text.len());
        places.sort_unstable();
        let chunks: Vec<&[u8]> = places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let whole = masked(&secrets, &[&text]);
        prop_assert_eq!(&masked(&secrets, &chunks), &whole);
        for secret in [&b"abababc"[..], b"bcabab!", "éééé".as_bytes()] {
            prop_assert_eq!(whole.windows(secret.len()).position(|window| window == secret), None);
        }
        if !text.windows(7).any(|window| window == b"abababc" || window == b"bcabab!") && whole.len() != text.len() {
            prop_assert_eq!(whole.windows(MASK.len()).any(|window| window == MASK.as_bytes()), true);
        }
    }
}
