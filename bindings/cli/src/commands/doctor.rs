//! `sapwood doctor`: what this device offers, and whether model and store are sound.

use sapwood::Learner;
use sapwood::placement::Placement;
use serde_json::{Value, json};

use super::store::StoreArguments;
use crate::model::{ModelArguments, embedded};
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
    let opened = arguments.model.file().and_then(|file| arguments.model.device.open(file));
    let device = match &opened {
        Ok((_, placement)) => device_figures(placement),
        // The device is what it is, whatever the file.
        Err(_) => arguments.model.device.open(embedded()).map_or_else(
            |error| json!({ "error": error.to_string() }),
            |(_, placement)| device_figures(&placement),
        ),
    };
    let model = match &opened {
        Ok((model, _)) => json!({
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
        Ok((model, _)) if arguments.store.exists() => {
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
        let device = lines(&device);
        format!("{device}model:  {model}\nstore:  {store}")
    })?;
    if sound { Ok(()) } else { Err("something is wrong: see above".into()) }
}

/// What there is to compute on, what does what, and why.
fn device_figures(placement: &Placement) -> Value {
    let places =
        placement.places.map(|(work, place)| (work.name().to_owned(), json!(place.name())));
    json!({
        "cpu": placement.cpu,
        "gpu": placement.gpu.as_ref().ok(),
        "gpu_unused_because": placement.gpu.as_ref().err().map(ToString::to_string),
        "work": places.into_iter().collect::<serde_json::Map<_, _>>(),
        "why": placement.why,
    })
}

fn lines(device: &Value) -> String {
    let line = |(name, value): (&String, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}: {text}\n")
    };
    let device = device.as_object().expect("made above");
    device.iter().filter(|(_, value)| !value.is_null()).map(line).collect()
}

fn store_figures(learner: &Learner) -> Value {
    json!({
        "replies": learner.turns().len(),
        "adapters": learner.adapters().len(),
        "in_force": learner.adapter_in_force().map(|digest| sapwood::store::hex(&digest)),
        "consent": format!("{:?}", learner.consent()),
    })
}
