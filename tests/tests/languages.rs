//! The default ban policy in other languages answers as the bundle's in Rust does, byte by
//! byte: a host may go on with any of them in the middle of a count.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use portcullis_domain::event::{Attempt, Dated, Outcome};
use portcullis_domain::{
    ClientId, Denied, Event, Judge as _, Judgement, Keep, Kept, Kind, Source, StateBytes, Timestamp, Verdict,
};
use portcullis_harness::scenario::{Scenario, UnderTest};
use portcullis_harness::{Login, Plan, PolicyPlan, Reaction, Shelf, World};
use portcullis_runtime::{
    ConfigureError, Limits, Mode, OnFailure, Plugin, PolicyJudge, Report, Reporter, Runtime, RuntimeConfig,
    SettingProblem, SettingValue, Settings,
};
use portcullis_tests::{repository, run};
use proptest::prelude::*;

/// What a language's toolchain takes is missing, and the build has said what.
const MISSING: i32 = 3;
const LONGEST: Duration = Duration::from_millis((1 << 53) - 1);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // Python's interpreter takes some ten seconds to compile.
    let cache = Some(folder().join("compiled"));
    let (runtime, notices) = Runtime::new(&RuntimeConfig { cache, ..RuntimeConfig::default() }).unwrap();
    assert_eq!(notices, [], "nothing to complain of");
    runtime
});

static RUST: LazyLock<Arc<Plugin>> = LazyLock::new(|| RUNTIME.bundle(Kind::Ban).unwrap());

fn folder() -> PathBuf {
    let folder = repository().join("target/languages");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The policy in that language, built first; none where that can't be.
fn load(language: &str) -> Option<Arc<Plugin>> {
    let out = folder().join("components");
    let built = run(Command::new(repository().join("tests/languages/build")).arg(&out).arg(language));
    if built.code == Some(MISSING) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{}", built.stderr);
        println!("SKIPPED: {language}: {}", built.stderr);
        if let Some(file) = std::env::var_os("PORTCULLIS_SKIPPED") {
            use std::io::Write as _;
            let mut file = fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
            writeln!(file, "languages: {}", built.stderr.trim()).unwrap();
        }
        return None;
    }
    assert_eq!(built.code, Some(0), "{language}: {built:?}");
    let bytes = fs::read(out.join(format!("ban-{language}.wasm"))).unwrap();
    Some(RUNTIME.load(&bytes, language).unwrap_or_else(|error| panic!("{language}: {error}")))
}

macro_rules! in_each_language {
    ($($language:ident)*) => {$(
        mod $language {
            use std::sync::{Arc, LazyLock};

            static PLUGIN: LazyLock<Option<Arc<super::Plugin>>> = LazyLock::new(|| super::load(stringify!($language)));

            #[test]
            fn it_describes_itself_as_the_bundles() {
                PLUGIN.iter().for_each(super::describes_itself_as_the_bundles);
            }

            #[test]
            fn it_refuses_the_same_settings() {
                PLUGIN.iter().for_each(super::refuses_the_same_settings);
            }

            #[test]
            fn it_judges_any_history_alike() {
                PLUGIN.iter().for_each(super::judges_any_history_alike);
            }

            #[test]
            fn it_answers_any_bytes_as_state_alike() {
                PLUGIN.iter().for_each(super::answers_any_bytes_as_state_alike);
            }

            #[test]
            fn it_passes_the_scenarios_of_the_bundles() {
                PLUGIN.iter().for_each(super::passes_the_scenarios_of_the_bundles);
            }

            #[test]
            fn a_host_swapped_to_it_and_back_goes_on_counting() {
                PLUGIN.iter().for_each(super::goes_on_counting_after_a_swap);
            }

            #[test]
            fn it_starts_within_the_deadline_and_serves_on() {
                PLUGIN.iter().for_each(super::starts_within_the_deadline_and_serves_on);
            }
        }
    )*};
}

in_each_language! { python javascript c }

/// A policy, and the lines that it has logged. A failure of its plugin fails the test.
struct Policy {
    judge: PolicyJudge,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Reporter for Told {
    fn report(&self, _: &str, report: Report<'_>) {
        self.0.lock().unwrap().push(if let Report::Log { level, message } = report {
            format!("{level:?}: {message}")
        } else {
            format!("not a log line: {report:?}")
        });
    }
}

struct State(Option<StateBytes>);

impl Kept for State {
    fn read(&self, _: usize) -> Option<StateBytes> {
        self.0.clone()
    }
}

/// An answer with everything that came with it.
type Answer = (Result<Judgement, Denied>, Vec<String>);

impl Policy {
    fn new(plugin: &Arc<Plugin>, settings: &Settings, mode: Mode) -> Result<Self, ConfigureError> {
        let configured = plugin.configure(Kind::Ban, settings, &Limits::default())?.with_mode(mode);
        let told = Arc::new(Told::default());
        let reporter = Arc::clone(&told) as Arc<dyn Reporter>;
        Ok(Self { judge: PolicyJudge::new("ban", configured, OnFailure::Deny, reporter).unwrap(), told })
    }

    fn answer(&self, tried: &Tried, at: Timestamp, state: Option<&StateBytes>) -> Answer {
        let id = tried.id.as_deref().map(|id| ClientId::new(id).unwrap());
        let attempt = Attempt {
            source: Source::new(tried.address, 64),
            client_id: id.as_ref(),
            outcome: if tried.success { Outcome::Success } else { Outcome::Failure },
            client_known: tried.known,
            secret_fingerprint: tried.fingerprint,
            attributes: &[],
        };
        let judged = self.judge.judge(&Dated { at, event: Event::Attempt(&attempt) }, &State(state.cloned()));
        (judged, std::mem::take(&mut *self.told.0.lock().unwrap()))
    }
}

/// One attempt, so long after the one before it.
#[derive(Clone, Debug)]
struct Tried {
    after: Duration,
    address: IpAddr,
    id: Option<String>,
    success: bool,
    known: Option<bool>,
    fingerprint: Option<u32>,
}

fn tried() -> impl Strategy<Value = Tried> {
    (
        prop_oneof![Just(0), 0..100_000_u64, 0..1_u64 << 50].prop_map(Duration::from_millis),
        any::<IpAddr>(),
        prop::option::of("[a-zéß🔑]{1,20}"),
        prop::bool::weighted(0.1),
        any::<Option<bool>>(),
        any::<Option<u32>>(),
    )
        .prop_map(|(after, address, id, success, known, fingerprint)| Tried {
            after,
            address,
            id,
            success,
            known,
            fingerprint,
        })
}

fn failure() -> Tried {
    let address = IpAddr::from([203, 0, 113, 7]);
    Tried { after: Duration::ZERO, address, id: None, success: false, known: None, fingerprint: None }
}

fn settings(max_failed_login: i64, ban_time: f64) -> Settings {
    Settings::from([
        ("max_failed_login".to_owned(), SettingValue::Integer(max_failed_login)),
        ("ban_time".to_owned(), SettingValue::Number(ban_time)),
    ])
}

/// Numbers of seconds near every bound, and others.
fn seconds() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::sample::select(vec![
            0.0,
            -0.0,
            1e-10,
            4e-10,
            5e-10,
            1e-9,
            0.001,
            0.0015,
            0.999_999_999_6,
            1.5,
            2.7,
            3600.0,
            -1e-9,
            -0.5,
            9_007_199_254_739.999,
            9_007_199_254_740.0,
            1e15,
            1e300,
        ]),
        0.0..100.0_f64,
        0.0..1e13_f64,
        -10.0..10_f64,
    ]
}

/// Limits near every bound, and others that every language's numbers hold.
fn limits() -> impl Strategy<Value = i64> {
    let most = i64::from(u32::MAX);
    prop_oneof![
        4 => -1..8_i64,
        1 => prop::sample::select(vec![most - 1, most, most + 1]),
        1 => -(1_i64 << 53)..1 << 53,
    ]
}

fn describes_itself_as_the_bundles(plugin: &Arc<Plugin>) {
    assert_eq!(plugin.description(), RUST.description());
    assert_eq!(plugin.kinds(), [Kind::Ban]);
    let imports: Vec<_> = plugin.imports().iter().filter(|import| !import.contains("/types@")).collect();
    assert_eq!(imports, ["portcullis:policy/log@0.1.0"]);
    let interest = |plugin: &Arc<Plugin>| {
        plugin.configure(Kind::Ban, &Settings::new(), &Limits::default()).unwrap().interest().clone()
    };
    assert_eq!(interest(plugin), interest(&RUST));
}

fn refusal(plugin: &Arc<Plugin>, settings: &Settings) -> Option<ConfigureError> {
    plugin.configure(Kind::Ban, settings, &Limits::default()).err()
}

fn refuses_the_same_settings(plugin: &Arc<Plugin>) {
    proptest!(config(64), |(limit in limits(), ban_time in seconds())| {
        let settings = settings(limit, ban_time);
        prop_assert_eq!(refusal(plugin, &settings), refusal(&RUST, &settings));
    });
    // A language whose numbers are doubles may show these otherwise.
    for limit in [i64::MIN, i64::MAX] {
        let Some(ConfigureError::Settings(problems)) = refusal(plugin, &settings(limit, -1.0)) else {
            panic!("{limit} is no setting");
        };
        let names: Vec<_> = problems.iter().map(SettingProblem::name).collect();
        assert_eq!(names, ["max_failed_login", "ban_time"], "every mistake at once");
    }
}

fn judges_any_history_alike(plugin: &Arc<Plugin>) {
    let history = prop::collection::vec(tried(), 1..60);
    proptest!(config(48), |(limit in 0..7_u32, ban_time in seconds(), history in history)| {
        let settings = settings(limit.into(), ban_time.clamp(0.0, 9e12));
        let [rust, other] = [&RUST, plugin].map(|plugin| Policy::new(plugin, &settings, Mode::Pooled).unwrap());
        let (mut state, mut at) = (None, Timestamp::from_millis(1_700_000_000_000));
        for tried in &history {
            at = at.after(tried.after);
            let expected = rust.answer(tried, at, state.as_ref());
            // The state that either has put is the other's to go on with.
            prop_assert_eq!(&other.answer(tried, at, state.as_ref()), &expected);
            prop_assert_eq!(&other.answer(tried, at, state.as_ref()), &expected, "the same call once more");
            match expected.0.unwrap().keep {
                Keep::Unchanged => {}
                Keep::Forget => state = None,
                Keep::Put(kept) => state = Some(kept.data),
            }
        }
    });
}

fn answers_any_bytes_as_state_alike(plugin: &Arc<Plugin>) {
    let bytes = prop_oneof![
        // Whole states, which go on being counted.
        any::<u32>().prop_map(|count| count.to_le_bytes().to_vec()),
        (0..8_u32).prop_map(|count| count.to_le_bytes().to_vec()),
        prop::sample::select(vec![u32::MAX - 1, u32::MAX]).prop_map(|count| count.to_le_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..12),
        prop::collection::vec(any::<u8>(), 0..=1024),
    ];
    let policies: Vec<_> = [1, 5, i64::from(u32::MAX)]
        .into_iter()
        .map(|limit| [&RUST, plugin].map(|plugin| Policy::new(plugin, &settings(limit, 3600.0), Mode::Pooled).unwrap()))
        .collect();
    proptest!(config(128), |(bytes in bytes, tried in tried())| {
        let state = StateBytes::from_slice(&bytes);
        let at = Timestamp::from_millis(1_700_000_000_000);
        for [rust, other] in &policies {
            let expected = rust.answer(&tried, at, Some(&state));
            prop_assert!(expected.0.is_ok());
            prop_assert_eq!(&other.answer(&tried, at, Some(&state)), &expected);
            prop_assert_eq!(&other.answer(&tried, at, Some(&state)), &expected, "the same call once more");
        }
    });
}

fn passes_the_scenarios_of_the_bundles(plugin: &Arc<Plugin>) {
    let (mut shelf, _) = Shelf::new(&RuntimeConfig::default()).unwrap();
    let folder = repository().join("tests/scenarios/bundle");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of_ban = files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("ban"));
    let mut passed = 0;
    for file in of_ban {
        let scenario = Scenario::load(&file).unwrap();
        let report = scenario.bind(&UnderTest::Plugin(Arc::clone(plugin)), &mut shelf).unwrap().run().unwrap();
        assert!(report.passed(), "{report}");
        passed += 1;
    }
    assert!(passed >= 4, "{passed}");
}

fn goes_on_counting_after_a_swap(plugin: &Arc<Plugin>) {
    let policy = |plugin: &Arc<Plugin>| PolicyPlan::new("ban", Kind::Ban, Arc::clone(plugin));
    let mut world = World::open(Plan::default().policy(policy(&RUST)), Mode::Pooled).unwrap();
    let wrong = Login::failed(&ClientId::new("abc").unwrap(), [203, 0, 113, 7].into());
    for plugin in [&RUST, plugin, &RUST, plugin] {
        world.swap(vec![policy(plugin)]).unwrap();
        let Reaction::Judged(judged) = world.login(&wrong) else { panic!("refused") };
        assert_eq!(judged.orders, []);
    }
    let Reaction::Judged(judged) = world.login(&wrong) else { panic!("refused") };
    assert_eq!(judged.orders[0].reason.text(), "Maximum of 5 login attempts reached.");
}

fn starts_within_the_deadline_and_serves_on(plugin: &Arc<Plugin>) {
    let at = Timestamp::from_millis((1 << 53) - 1);
    // As long as the interface can say.
    let settings = settings(1, 9_007_199_254_739.999);
    let longest = |answer: &Answer| match &answer.0 {
        Ok(Judgement { verdict: Verdict::Ban(order), .. }) => order.duration <= LONGEST,
        Ok(_) | Err(_) => false,
    };
    for (mode, calls) in [(Mode::FreshPerCall, 50), (Mode::Pooled, 20_000)] {
        let [rust, other] = [&RUST, plugin].map(|plugin| Policy::new(plugin, &settings, mode).unwrap());
        let expected = rust.answer(&failure(), at, None);
        assert!(longest(&expected), "{expected:?}");
        // What is left behind by each call would be over the limit of memory in the end.
        for _ in 0..calls {
            assert_eq!(
                other.answer(&failure(), at, Some(&StateBytes::from_slice(&[0; 1000]))).0,
                rust_forgets(&expected)
            );
        }
    }
}

/// The same verdict, where there was a state that is of no use.
fn rust_forgets(answer: &Answer) -> Result<Judgement, Denied> {
    answer.0.clone().map(|judgement| Judgement { keep: Keep::Forget, ..judgement })
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
