//! Export: all that is kept comes out readable, and nothing that was forgotten.

use std::path::PathBuf;

use sapwood::disk::sim::SimDisk;
use sapwood::signal::Signal;
use sapwood::store::hex;
use sapwood::{Consent, Exported, LearnerError, Scope};
use serde_json::Value;

use super::{adapter_bytes, config, greedy, open};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("sapwood-export-{name}-{}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(name));
        let _ = std::fs::remove_dir_all(&folder.0);
        folder
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.0.join(name)).unwrap()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn everything_that_is_kept_comes_out_and_nothing_else() {
    let disk = SimDisk::new();
    let learner = open(&disk, config());
    let empty = Folder::new("empty");
    let nothing = Exported { turns: 0, adapters: 0, unreadable_records: 0 };
    assert_eq!(learner.export_data(&empty.0).unwrap(), nothing);
    assert_eq!(empty.json("turns.json"), Value::Array(vec![]));
    assert_eq!(empty.json("adapters.json")["consent"], "unasked");

    learner.set_consent(Consent::Granted).unwrap();
    let respond = |request: &str| {
        let chat = learner.chat("mail", Some("Be \"brief\"."), vec![]).unwrap();
        chat.respond(request, greedy(4)).unwrap().finish().unwrap()
    };
    let secret = respond("the word is heliotrope");
    let kept = respond("Triage: höflich & knapp\n");
    let text = "no, \u{1F600} \"thanks\"";
    learner.signal(kept.id, Signal::Edited { text: text.into() }).unwrap();
    let bytes = adapter_bytes(learner.model(), 3);
    let digest = learner.stage(&bytes).unwrap();
    learner.activate(&digest).unwrap();
    learner.forget(&Scope::Reply(secret.id)).unwrap();

    let folder = Folder::new("all");
    let exported = learner.export_data(&folder.0).unwrap();
    assert_eq!(exported, Exported { turns: 1, adapters: 1, unreadable_records: 0 });
    let turns = folder.json("turns.json");
    let turn = &turns[0];
    assert_eq!(turn["reply_id"], format!("{:032x}", kept.id));
    assert_eq!(turn["turns"][0]["text"], "Triage: höflich & knapp\n");
    assert_eq!(turn["instructions"], "Be \"brief\".");
    assert_eq!(turn["reply"], kept.text);
    assert_eq!(turn["signals"][0]["signal"], "edited");
    assert_eq!(turn["signals"][0]["text"], text);
    let adapters = folder.json("adapters.json");
    assert_eq!(adapters["consent"], "granted");
    assert_eq!(adapters["in_force"], hex(&digest));
    let file = adapters["adapters"][0]["file"].as_str().unwrap();
    assert_eq!(std::fs::read(folder.0.join(file)).unwrap(), bytes);
    for name in ["turns.json", "adapters.json"] {
        assert!(!std::fs::read_to_string(folder.0.join(name)).unwrap().contains("heliotrope"));
    }
    // What is there is not overwritten.
    let refused = learner.export_data(&folder.0).unwrap_err();
    assert!(matches!(refused, LearnerError::Folder { .. }), "{refused}");
    assert_eq!(folder.json("turns.json"), turns);
}
