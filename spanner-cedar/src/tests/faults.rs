//! Files that are broken, hostile, or not meant: refused with a reason, and never a panic.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use spanner_core::Action;

use super::{ORGANIZATION, SENTIMENT, ask_one, caller};
use crate::Cedar;

/// A guardrail with something of everything.
const GUARDRAIL: &str = r#"
@id("old") @reason("the credential is older than a week") @advice("sign in again")
forbid (principal is Spanner::User in Spanner::Group::"corp/qa", action in [Spanner::Action::"infer"], resource in Spanner::Environment::"production")
when { context.tokenAgeSeconds > 604800 && !(context.scopes.contains("x")) }
unless { resource is Spanner::Endpoint && resource.name like "lab/*" };
"#;

const GOOD: [(&str, &str); 3] = [
    ("organization.toml", ORGANIZATION),
    ("models/acme/sentiment.toml", SENTIMENT),
    ("policies/g.cedar", GUARDRAIL),
];

/// Pieces that parsers trip over.
const PIECES: [&str; 20] = [
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    "\n",
    "\\u{0}",
    "//",
    "/*",
    "::",
    "@id",
    "?principal",
    "\u{feff}",
    "99999999999999999999",
    "grants",
    "é",
];

/// One change of a file.
#[derive(Debug, Clone)]
enum Change {
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, &'static str),
    Byte(Index, u8),
    Repeat(Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), 1..20_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<Index>(), select(&PIECES[..])).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        let range = |at: &Index, count: usize| {
            let at = at.index(length);
            at..(at + count).min(length)
        };
        match self {
            Self::Cut(at) => bytes.truncate(at.index(length)),
            Self::Remove(at, count) => drop(bytes.drain(range(at, *count))),
            Self::Insert(at, piece) => {
                let at = at.index(length);
                bytes.splice(at..at, piece.bytes());
            }
            Self::Byte(at, byte) => bytes[at.index(length)] = *byte,
            Self::Repeat(at, count) => {
                let range = range(at, *count);
                let piece = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, piece);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_panics_whatever_the_bytes(
        which in 0..GOOD.len(),
        changes in proptest::collection::vec(change(), 1..6),
    ) {
        let mut files: Vec<(&str, Vec<u8>)> =
            GOOD.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect();
        for change in &changes {
            change.apply(&mut files[which].1);
        }
        match Cedar::from_files(files) {
            Ok(cedar) => {
                let verdict = ask_one(&cedar, &caller("user:corp/u", &["qa"]), Action::Read, "m", "staging");
                prop_assert!(verdict.errors.is_empty());
            }
            Err(error) => {
                prop_assert!(!error.problems().is_empty());
                prop_assert!(error.problems().is_sorted());
                for problem in error.problems() {
                    prop_assert!(!problem.to_string().contains('\n'), "{problem}");
                    prop_assert!(problem.position.is_some());
                }
            }
        }
    }
}

/// What a directory with these files and links is refused for, one problem a line.
#[track_caller]
fn refused(fill: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in GOOD {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fill(dir.path());
    match Cedar::from_dir(dir.path()) {
        Ok(_) => String::new(),
        Err(error) => error.to_string().split_once('\n').unwrap().1.to_owned(),
    }
}

#[test]
fn reads_what_belongs_to_the_access_and_passes_over_notes() {
    assert_eq!(
        refused(|dir| {
            fs::create_dir_all(dir.join("cases/deep")).unwrap();
            fs::create_dir_all(dir.join(".git")).unwrap();
            for note in [
                "README.md",
                "models/README.md",
                "CODEOWNERS",
                ".git/x.toml",
                "cases/deep/a.toml",
                "policies/.g.cedar",
            ] {
                fs::write(dir.join(note), "no = [").unwrap();
            }
        }),
        ""
    );
}

#[test]
fn refuses_files_that_would_guard_nothing_where_they_are() {
    let found = refused(|dir| {
        for name in [
            "policy/g.cedar",
            "policies/g.ceder",
            "policies/a.toml",
            "models/b.cedar",
            "organisation.toml",
            "guard.cedar",
        ] {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    });
    assert_eq!(
        found,
        "guard.cedar: unknown file `guard.cedar`; move it to `models` or `policies`
models/b.cedar: this is no manifest; name it `.toml`, or move it elsewhere
organisation.toml: unknown file `organisation.toml`; did you mean `organization.toml`?
policies/a.toml: this is no guardrail; name it `.cedar`, or move it elsewhere
policies/g.ceder: this is no guardrail; name it `.cedar`, or move it elsewhere
policy/g.cedar: unknown folder `policy`; did you mean `policies`?"
    );
}

#[test]
fn refuses_what_is_too_much_or_no_text() {
    let found = refused(|dir| {
        fs::write(dir.join("models/huge.toml"), vec![b'#'; 1024 * 1024 + 1]).unwrap();
        fs::write(dir.join("policies/latin.cedar"), b"// ok\n// \xe9t\xe9").unwrap();
        fs::create_dir_all(dir.join("models/a/b/c/d/e/f/g/h/i/j/k/l")).unwrap();
        fs::create_dir(dir.join("models/folder.toml")).unwrap();
    });
    assert_eq!(
        found,
        "models/a/b/c/d/e/f/g/h/i/j/k: the folder is more than 11 deep; move its files up
models/huge.toml: the file has more than 1048576 bytes; split it
policies/latin.cedar:2:4: the file is not UTF-8; save it as UTF-8"
    );
    let many = (0..50_001).map(|number| (format!("models/{number}.toml"), ""));
    let error = Cedar::from_files(many).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(".: there are more than 50000 files"),
        "{error}"
    );
    let twice = Cedar::from_files([GOOD[0], GOOD[1], GOOD[1]])
        .unwrap_err()
        .to_string();
    assert!(
        twice.contains("models/acme/sentiment.toml: the file is given twice"),
        "{twice}"
    );
    let missing = Cedar::from_dir("no/such/folder").unwrap_err().to_string();
    assert!(
        missing.contains("no/such/folder: it cannot be read: "),
        "{missing}"
    );
    let debug = format!("{:?}", Cedar::from_dir("no/such/folder").unwrap_err());
    assert_eq!(debug, missing, "`main` shows the error with `Debug`");
}

#[cfg(unix)]
#[test]
fn follows_links_and_refuses_their_loops() {
    use std::os::unix::fs::symlink;
    assert_eq!(
        refused(|dir| {
            symlink("..", dir.join("models/up")).unwrap();
            symlink("nowhere.cedar", dir.join("policies/lost.cedar")).unwrap();
        })
        .lines()
        .map(|line| line.split_inclusive(": ").take(2).collect::<String>())
        .collect::<Vec<_>>(),
        [
            "models/up: the symbolic link leads back to a folder above it; remove the link",
            "policies/lost.cedar: it cannot be read: ",
        ]
    );
    // The way Kubernetes mounts a `ConfigMap`.
    assert_eq!(
        refused(|dir| {
            fs::create_dir(dir.join("policies/..2026")).unwrap();
            fs::rename(
                dir.join("policies/g.cedar"),
                dir.join("policies/..2026/g.cedar"),
            )
            .unwrap();
            symlink("..2026", dir.join("policies/..data")).unwrap();
            symlink("..data/g.cedar", dir.join("policies/g.cedar")).unwrap();
        }),
        ""
    );
}

/// Conditions as deep as they are told to be, in each way that Cedar has.
const SHAPES: [fn(usize) -> String; 9] = [
    |depth| format!("true{}", " && true".repeat(depth)),
    |depth| format!("true{}", " || context.assurance > 1".repeat(depth)),
    |depth| format!("{}true{}", "(".repeat(depth), ")".repeat(depth)),
    |depth| format!("{}true{}", "!(".repeat(depth), ")".repeat(depth)),
    |depth| format!("{}true{} == 1", "[".repeat(depth), "]".repeat(depth)),
    |depth| format!("{}true{} == 1", "{a:".repeat(depth), "}".repeat(depth)),
    |depth| format!("{}true", "if true then true else ".repeat(depth)),
    |depth| {
        format!(
            "{}true{}",
            "if ".repeat(depth),
            " then true else true".repeat(depth)
        )
    },
    |depth| format!("context{}", ".a".repeat(depth)),
];

#[test]
fn bounds_how_deep_a_guardrail_is() {
    let guardrail = |condition: &str| {
        let text =
            format!("@id(\"a\") permit (principal, action, resource) when {{ {condition} }};");
        Cedar::from_files([GOOD[0], ("policies/g.cedar", text.as_str())])
    };
    // What is within the limits is parsed, checked, evaluated and dropped on a small stack.
    for depth in [48, 120, 240, 249, 400] {
        for shape in SHAPES {
            if let Ok(cedar) = guardrail(&shape(depth)) {
                let caller = caller("user:corp/u", &[]);
                let verdict = ask_one(&cedar, &caller, Action::Read, "m", "staging");
                assert!(verdict.errors.is_empty());
            }
        }
    }
    for shape in SHAPES {
        let error = guardrail(&shape(20_000)).unwrap_err().to_string();
        let told = error.contains("split it into several policies");
        assert!(told, "{}", error.chars().take(500).collect::<String>());
    }
    // Brackets in strings and comments are no brackets, and a file may have many policies.
    let text: String = (0..100)
        .map(|id| format!("@id(\"a{id}\") permit (principal, action, resource) when {{ context.issuer == \"\\\"((((\" }}; // {{{{{{\n"))
        .collect();
    assert_eq!(
        refused(|dir| fs::write(dir.join("policies/many.cedar"), text).unwrap()),
        ""
    );
}

#[test]
fn bounds_how_deep_a_table_is() {
    let depth = 100_000;
    let texts = [
        format!("environments = {}", "[".repeat(depth)),
        format!("environments = {}{}", "[".repeat(depth), "]".repeat(depth)),
        format!("x = {}1{}", "{a=".repeat(depth), "}".repeat(depth)),
        format!("x{} = 1", ".a".repeat(depth)),
        format!("[x{}]\nb = 1", ".a".repeat(depth)),
    ];
    for text in texts {
        let error = Cedar::from_files([("organization.toml", text)]).unwrap_err();
        assert!(!error.problems().is_empty());
    }
}
