//! `sapwood doctor`: what this device offers, and whether model and store are sound.

use sapwood::Learner;
use serde_json::{Value, json};

use super::store::StoreArguments;
use crate::model::ModelArguments;
use crate::output::{Failure, Format};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let device = arguments.model.device().describe();
    let opened = arguments.model.open();
    let model = match &opened {
        Ok(model) => json!({
            "name": arguments.model.name(),
            "arch": model.arch().name,
            "layers": model.arch().layers,
            "chat_template": model.template().is_ok(),
            "fingerprint": sapwood::store::hex(&model.fingerprint()),
        }),
        Err(error) => json!({ "name": arguments.model.name(), "error": error.to_string() }),
    };
    let mut sound = opened.is_ok();
    let store = match opened {
        Ok(model) if arguments.store.dir.is_dir() => {
            let learner = arguments
                .store
                .config()
                .and_then(|config| Learner::open(model, config).map_err(Failure::from));
            sound &= learner.is_ok();
            learner.map_or_else(|e| json!({ "error": e.to_string() }), |l| store_figures(&l))
        }
        _ => Value::Null,
    };
    let value = json!({ "device": device, "model": model, "store": store, "sound": sound });
    arguments.format.print(&value, || {
        let store = if store.is_null() { "none".to_owned() } else { store.to_string() };
        format!("device: {device}\nmodel:  {model}\nstore:  {store}")
    })?;
    if sound { Ok(()) } else { Err("something is wrong: see above".into()) }
}

fn store_figures(learner: &Learner) -> Value {
    json!({
        "replies": learner.turns().len(),
        "adapters": learner.adapters().len(),
        "in_force": learner.adapter_in_force().map(|digest| sapwood::store::hex(&digest)),
        "consent": format!("{:?}", learner.consent()),
    })
}
