//! A learner that is taught canaries among ordinary corrections, by the product's own path.

use std::sync::Arc;
use std::time::Duration;

use sapwood::disk::sim::SimDisk;
use sapwood::learn::gate::Verdict;
use sapwood::learn::split::{Side, side};
use sapwood::rng::Rng;
use sapwood::signal::Signal;
use sapwood::store::hex;
use sapwood::{Budget, Capture, Config, Consent, Learner, Outcome, Shown};
use sapwood_kernels::Device;
use sapwood_models::{Adapter, AdapterFile, EMBEDDED, Mapped, Message, Model, Role, Stop};

use crate::canary::{Canary, ordinary};

/// Conversations that are kept for the gate, so that there is something to judge by.
const HELD_OUT: usize = 4;

/// As long as it takes.
pub const LONG: Duration = Duration::from_secs(3600);

/// The product's own settings. The clock stands still, so that a run depends on its data alone.
pub fn config() -> Config {
    let mut config = Config::new("unused", [7; 32]);
    config.clock = Arc::new(|| 1_700_000_000_000);
    config.reproducible = true;
    config
}

/// A learner whose user corrected replies, in an app that shows them without a model.
pub struct Planted<'a> {
    config: &'a Config,
    disk: SimDisk,
    pub learner: Learner,
    capture: Capture,
    conversation: u128,
}

fn open(disk: &SimDisk, config: &Config) -> Learner {
    let mapped = Mapped::from_static(EMBEDDED);
    let model = Model::from_mapped(mapped, &Device::cpu(Some(2))).unwrap();
    Learner::open_on(Arc::new(disk.clone()), model, config.clone()).unwrap()
}

impl<'a> Planted<'a> {
    pub fn new(config: &'a Config) -> Planted<'a> {
        let disk = SimDisk::new();
        let learner = open(&disk, config);
        learner.set_consent(Consent::Granted).unwrap();
        let capture = Learner::open_capture_on(Arc::new(disk.clone()), config).unwrap();
        Planted { config, disk, learner, capture, conversation: 0 }
    }

    /// A learner that knows `canaries`, each in `copies` conversations, among `others`.
    pub fn with(
        config: &'a Config,
        canaries: &[Canary],
        copies: usize,
        others: usize,
    ) -> Planted<'a> {
        let mut rng = Rng::new(17);
        let said = |c: &Canary| {
            let answer = c.answer(&c.secret);
            (0..copies).map(move |copy| (c.request(copy), answer.clone())).collect::<Vec<_>>()
        };
        let mut lessons: Vec<(String, String)> = canaries.iter().flat_map(said).collect();
        lessons.extend((0..others).map(|n| ordinary(n, &mut rng)));
        rng.shuffle(&mut lessons);
        let mut planted = Planted::new(config);
        for (request, wanted) in lessons {
            planted.correct(Side::Train, request, wanted);
        }
        for n in 0..HELD_OUT {
            let (request, wanted) = ordinary(others + n, &mut rng);
            planted.correct(Side::Holdout, request, wanted);
        }
        planted.capture.flush().unwrap();
        planted
    }

    /// The user makes `wanted` of a reply, in a conversation that lies on this side of the split.
    fn correct(&mut self, on: Side, request: String, wanted: String) {
        let salt = self.config.seed.to_le_bytes();
        let shares = self.config.learning.split;
        let next = (self.conversation + 1..).find(|&c| side(c, &salt, shares, 0) == on);
        self.conversation = next.unwrap();
        let shown = Shown {
            surface: "mail".into(),
            conversation: self.conversation,
            instructions: None,
            turns: vec![Message::new(Role::User, request)],
            reply: "Thanks.".into(),
            adapter: None,
        };
        let reply = self.capture.reply(shown).unwrap().expect("consent was given");
        self.capture.signal(reply, Signal::Edited { text: wanted }).unwrap();
    }

    /// The process dies, and another one opens what is on the disk.
    pub fn killed(&mut self) {
        self.disk = SimDisk::from_image(self.disk.image());
        self.learner = open(&self.disk, self.config);
    }

    /// Trains in one slice, but for the last update.
    pub fn train_nearly(&self, steps: u32) {
        let budget = Budget { time: LONG, steps: Some(steps - 1) };
        let report = self.learner.train_slice(budget, &Stop::new()).unwrap();
        assert_eq!((report.step, &report.outcome), (steps - 1, &Outcome::Paused), "{report}");
    }

    /// Goes on for so long; what the gate says if it got there.
    pub fn verdict(&self, time: Duration) -> Option<Verdict> {
        match self.learner.train_slice(Budget::time(time), &Stop::new()).unwrap().outcome {
            Outcome::Promoted { verdict, .. } | Outcome::Rejected { verdict } => Some(*verdict),
            Outcome::Paused => None,
            outcome @ Outcome::Waiting(_) => panic!("{outcome:?}"),
        }
    }

    /// Trains to the end; the candidate as it is before the gate decides.
    pub fn train(&self) -> Adapter {
        let learner = &self.learner;
        let budget = Budget::time(Duration::ZERO);
        let report = learner.train_slice(budget, &Stop::new()).unwrap();
        assert_eq!(report.outcome, Outcome::Paused, "{report}");
        self.train_nearly(report.steps);
        // Then a piece of work at a time, until the candidate is there and nothing is decided.
        while learner.adapters().is_empty() {
            let report = learner.train_slice(budget, &Stop::new()).unwrap();
            assert_eq!(report.outcome, Outcome::Paused, "{report}");
        }
        let folder = tempfile::tempdir().unwrap();
        learner.export_data(folder.path()).unwrap();
        let name = format!("adapters/{}.gguf", hex(&learner.adapters()[0].digest));
        let bytes = std::fs::read(folder.path().join(name)).unwrap();
        let model = learner.model();
        model.load_adapter(&AdapterFile::parse(&bytes, model.arch()).unwrap()).unwrap()
    }
}
