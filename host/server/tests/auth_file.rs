//! Credentials files as operators have them, and the pool that checks secrets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in its helpers too")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use portcullis::auth::{
    Checked, Client, Credentials, FileError, FileMistake, FileWarning, HashError, HashPool, IdCase, Loaded, NotChecked,
    ProcessKey, Secret,
};
use portcullis_domain::Outcome;

/// `secret`, hashed at low cost by `htpasswd -nbBC 4` and by the argon2 tool.
fn bcrypt(prefix: &str) -> String {
    let hash = bcrypt::hash_with_salt("secret", 4, [7; 16]).unwrap();
    hash.format_for_version(bcrypt::Version::TwoB).replacen("$2b$", prefix, 1)
}

fn argon2(params: (u32, u32)) -> String {
    use argon2::password_hash::{PasswordHasher as _, SaltString};
    let params = argon2::Params::new(params.0, params.1, 1, None).unwrap();
    let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    hasher.hash_password(b"secret", &SaltString::encode_b64(b"0123456789abcdef").unwrap()).unwrap().to_string()
}

fn parse(text: &str, id_case: IdCase) -> Result<Loaded, FileError> {
    Credentials::parse(text, Path::new("clients"), &[], id_case, &ProcessKey::from_bytes([1; 32]))
}

fn load(text: &str) -> Credentials {
    parse(text, IdCase::Keep).unwrap_or_else(|error| panic!("{error}")).credentials
}

fn mistakes(text: &str, id_case: IdCase) -> Vec<(usize, FileMistake)> {
    match parse(text, id_case) {
        Err(FileError::Wrong(mistakes)) => mistakes.list,
        other => panic!("{other:?}"),
    }
}

const RIGHT: Checked = Checked { outcome: Outcome::Success, known: true };
const WRONG: Checked = Checked { outcome: Outcome::Failure, known: true };
const UNKNOWN: Checked = Checked { outcome: Outcome::Failure, known: false };

#[test]
fn rports_json_is_taken_as_it_is() {
    let credentials = load("{\n  \"clientAuth1\": \"1234\",\n  \"client\\u0041\": \"p:ä\"\n}\n");
    assert_eq!((credentials.len(), credentials.is_dear()), (2, false));
    assert_eq!(credentials.check("clientAuth1", b"1234"), RIGHT);
    assert_eq!(credentials.check("clientAuth1", b"12345"), WRONG);
    assert_eq!(credentials.check("clientAuth1", b""), WRONG);
    assert_eq!(credentials.check("clientA", "p:ä".as_bytes()), RIGHT);
    assert_eq!(credentials.check("clientauth1", b"1234"), UNKNOWN);
    assert_eq!(load("").check("", b""), UNKNOWN);
}

#[test]
fn htpasswd_is_taken_with_bcrypt_and_argon2id() {
    let text =
        format!("# staff\na:{}\nb:{}\n\nc:{}\nd:{}\n", bcrypt("$2y$"), bcrypt("$2a$"), bcrypt("$2b$"), argon2((64, 1)));
    let credentials = load(&text);
    for id in ["a", "b", "c", "d"] {
        assert_eq!(credentials.check(id, b"secret"), RIGHT, "{id}");
        assert_eq!(credentials.check(id, b"Secret"), WRONG, "{id}");
    }
    assert_eq!(credentials.check("e", b"secret"), UNKNOWN);
    assert!(credentials.is_dear());
}

#[test]
fn a_hash_in_json_is_a_hash_and_no_password() {
    let hash = bcrypt("$2y$");
    let credentials = load(&format!("{{\"a\": \"{hash}\", \"b\": \"plain\"}}"));
    assert_eq!(credentials.check("a", b"secret"), RIGHT);
    assert_eq!(credentials.check("a", hash.as_bytes()), WRONG);
    assert_eq!(credentials.check("b", b"plain"), RIGHT);
}

#[test]
fn every_line_that_is_not_taken_is_reported_with_its_reason() {
    let dear = bcrypt("$2y$").replacen("$04$", "$17$", 1);
    let text = format!(
        "a:$apr1$x$y\nb:{{SHA}}x\nc:rqXexS6ZhobKA\nd:$6$x$y\ne\n:{0}\nf:$2x$04$x\ng:$argon2i$v=19$m=8,t=1,p=1$x$y\n\
         h:{dear}\ni:{1}\nj:$2y$04$short\nk:{0}\nk:{0}\n",
        bcrypt("$2y$"),
        argon2((64, 1)).replacen("m=64", "m=4000000", 1),
    );
    let expected: Vec<(usize, FileMistake)> = vec![
        (1, HashError::Md5.into()),
        (2, HashError::Sha1.into()),
        (3, HashError::NoHash.into()),
        (4, HashError::ShaCrypt.into()),
        (5, FileMistake::NoColon),
        (6, FileMistake::IdForm),
        (7, HashError::BcryptVersion.into()),
        (8, HashError::Argon2Variant.into()),
        (9, HashError::TooDear.into()),
        (10, HashError::TooDear.into()),
        (11, HashError::Malformed.into()),
        (13, FileMistake::Doubled { first: 12, folded: false }),
    ];
    assert_eq!(mistakes(&text, IdCase::Keep), expected);
    let told = parse(&text, IdCase::Keep).unwrap_err().to_string();
    assert!(told.starts_with(
        "clients:1: an MD5 hash ($apr1$ or $1$), which is broken; set the password anew with htpasswd -B\n"
    ));
    assert!(!told.contains("rqXexS6ZhobKA"), "a secret is repeated");
}

#[test]
fn doubled_ids_are_refused_in_json_too() {
    let text = "{\n\"a\": \"1\",\n\"\\u0061\": \"2\",\n\"A\": \"3\", \"b\": 4,\n\"c\": \"\"}";
    let doubled = |folded| FileMistake::Doubled { first: 2, folded };
    let keep = mistakes(text, IdCase::Keep);
    assert_eq!(keep[0], (3, doubled(false)));
    assert_eq!(keep[1], (4, FileMistake::Json("a password has to be text".to_owned())));
    assert_eq!(keep[2], (5, FileMistake::SecretForm));
    assert_eq!(keep.len(), 3);
    assert!(mistakes(text, IdCase::Fold).contains(&(4, doubled(true))));
    assert!(matches!(mistakes("{\n\"a\": \"1\",\n", IdCase::Keep)[..], [(3, FileMistake::Json(_))]));
}

#[test]
fn clients_of_the_command_line_count_too() {
    let clients = [Client::parse("x:1").unwrap()];
    let key = ProcessKey::from_bytes([1; 32]);
    let parse = |text| Credentials::parse(text, Path::new("clients"), &clients, IdCase::Fold, &key);
    let credentials = parse("{\"y\": \"2\"}").unwrap().credentials;
    assert_eq!((credentials.check("X", b"1"), credentials.check("y", b"2")), (RIGHT, RIGHT));
    assert!(matches!(parse("{\"X\": \"2\"}"), Err(FileError::Wrong(_))));
    let alone = Credentials::load(None, &clients, IdCase::Keep, &key).unwrap();
    assert_eq!((alone.credentials.check("x", b"1"), alone.warnings.len()), (RIGHT, 0));
}

#[test]
fn what_is_worth_telling_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clients");
    let key = ProcessKey::from_bytes([1; 32]);
    let load = |text: &str, mode| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Credentials::load(Some(&path), &[], IdCase::Keep, &key).unwrap().warnings
    };
    assert_eq!(load("{\"a\": \"1\"}", 0o640), []);
    assert_eq!(load("{\"a\": \"1\"}", 0o644), [FileWarning::WorldReadable]);
    assert_eq!(load("", 0o600), [FileWarning::Empty]);
    assert_eq!(load(&format!("a:{}\nb:{}\n", argon2((64, 1)), argon2((64, 2))), 0o600), [FileWarning::MixedCosts]);
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Credentials::load(Some(&path), &[], IdCase::Keep, &key), Err(FileError::Read { .. })));
}

/// Microseconds that this thread spends on a check.
fn time_of(credentials: &Credentials, id: &str) -> i64 {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
    };
    let once = |()| {
        let start = now();
        let _ = credentials.check(id, b"wrong");
        now() - start
    };
    once(()).max(1)
}

#[test]
fn an_unknown_id_and_a_plain_secret_cost_what_the_dearest_hash_costs() {
    let hash = argon2((2048, 2));
    let credentials = load(&format!("{{\"dear\": \"{hash}\", \"plain\": \"x\", \"cheap\": \"{}\"}}", argon2((64, 1))));
    // In turns: whatever else the machine does hits all of them.
    let mut least = [i64::MAX; 4];
    for _ in 0..20 {
        for (least, id) in least.iter_mut().zip(["dear", "unknown", "plain", "cheap"]) {
            *least = time_of(&credentials, id).min(*least);
        }
    }
    let [dear, unknown, plain, cheap] = least;
    for time in [unknown, plain] {
        assert!(time * 3 > dear && time < dear * 3, "{least:?} us");
    }
    assert!(cheap * 3 < dear, "the measure measures nothing: {least:?}");
}

#[test]
fn the_pool_checks_hashes_beside_the_caller() {
    let pool = HashPool::start(std::num::NonZeroUsize::new(1)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let credentials = Arc::new(load(&format!("a:{}\n", bcrypt("$2y$"))));
    let check =
        |id: &'static str, secret: &'static str| runtime.block_on(pool.check(&credentials, id, &Secret::new(secret)));
    assert_eq!(check("a", "secret"), Ok(RIGHT));
    assert_eq!(check("a", "other"), Ok(WRONG));
    assert_eq!(check("b", "secret"), Ok(UNKNOWN));
}

#[test]
fn a_full_queue_is_busy_and_what_was_queued_is_still_checked() {
    let pool = HashPool::start(std::num::NonZeroUsize::new(1)).unwrap();
    // Some 5 ms a check: the queue fills faster than it drains.
    let credentials = Arc::new(load(&format!("a:{}\n", argon2((4096, 2)))));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let results = runtime.block_on(async {
        let tasks: Vec<_> =
            (0..200).map(|_| Box::pin(async { pool.check(&credentials, "a", &Secret::new("secret")).await })).collect();
        join_all(tasks).await
    });
    let busy = results.iter().filter(|result| **result == Err(NotChecked::Busy)).count();
    assert!(busy > 0, "nothing was refused");
    assert!(results.len() - busy >= 32, "the queue took only {}", results.len() - busy);
    assert!(results.iter().all(|result| matches!(result, Ok(RIGHT) | Err(NotChecked::Busy))));
}

/// Polls all at once, so that all are queued before the first is awaited.
async fn join_all<F: Future<Output = T> + Unpin, T>(mut tasks: Vec<F>) -> Vec<T> {
    let mut results: Vec<Option<T>> = tasks.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (task, result) in tasks.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(value) = std::pin::Pin::new(task).poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}
