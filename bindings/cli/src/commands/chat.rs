//! `sapwood chat`: a conversation in the terminal that teaches the model.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use sapwood::signal::{Rating, Signal};
use sapwood::{Budget, Chat, Consent, Event, Generation, Learner, Options, Reply};
use sapwood_models::Stop;

use super::generate::SamplingArguments;
use super::store::StoreArguments;
use crate::model::ModelArguments;
use crate::output::Failure;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    store: StoreArguments,
    /// Whether what you say and do here may be kept, encrypted, to learn from it; asked if it was
    /// never said
    #[arg(long, value_name = "yes|no")]
    consent: Option<Answer>,
    /// Standing instructions
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Most tokens of a reply
    #[arg(short = 'n', default_value_t = 256, value_name = "N")]
    tokens: usize,
    #[command(flatten)]
    sampling: SamplingArguments,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Answer {
    Yes,
    No,
}

const HELP: &str = "\
/edit TEXT   what the reply should have been      /good /bad   rate the reply
/again       another reply                        /use         you used it as it is
/train       train now for up to a minute         /adapters    what is in force
/help        this list                            /quit        leave";

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let learner = Learner::open(arguments.model.open()?, arguments.store.config()?)?;
    ask(&learner, arguments)?;
    let chat = learner.chat("chat", arguments.system.as_deref(), Vec::new())?;
    let mut session = Session { learner, chat, arguments, last: None };
    eprintln!("{HELP}\n");
    let input = std::io::stdin();
    loop {
        eprint!("> ");
        std::io::stderr().flush()?;
        let mut line = String::new();
        if input.lock().read_line(&mut line)? == 0 || line.trim() == "/quit" {
            return Ok(());
        }
        // One bad line doesn't end the conversation.
        if let Err(error) = session.obey(line.trim()) {
            eprintln!("{error}");
        }
    }
}

/// Nothing is kept before somebody says so: in an option, or when asked at a terminal.
fn ask(learner: &Learner, arguments: &Arguments) -> Result<(), Failure> {
    let said = match (arguments.consent, learner.consent()) {
        (Some(Answer::Yes), _) => Some(Consent::Granted),
        (Some(Answer::No), _) => Some(Consent::Refused),
        (None, Consent::Unasked) if std::io::stdin().is_terminal() => {
            eprint!(
                "May what you say and do here be kept in {}, encrypted, to learn from it?\n\
                 It never leaves this machine. [y/N] ",
                arguments.store.dir.display()
            );
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            let yes = ["y", "yes"].contains(&line.trim().to_lowercase().as_str());
            Some(if yes { Consent::Granted } else { Consent::Refused })
        }
        (None, _) => None,
    };
    if let Some(consent) = said {
        learner.set_consent(consent)?;
    }
    if learner.consent() != Consent::Granted {
        eprintln!("Nothing is kept, and nothing learned; --consent yes allows it.\n");
    }
    Ok(())
}

struct Session<'a> {
    learner: Learner,
    chat: Chat,
    arguments: &'a Arguments,
    last: Option<Reply>,
}

impl Session<'_> {
    fn obey(&mut self, line: &str) -> Result<(), Failure> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "" => Ok(()),
            "/help" => {
                eprintln!("{HELP}");
                Ok(())
            }
            "/edit" => self.signal(Signal::Edited { text: rest.to_owned() }),
            "/good" => self.signal(Signal::Rated { rating: Rating::Up }),
            "/bad" => self.signal(Signal::Rated { rating: Rating::Down }),
            "/use" => self.signal(Signal::Accepted),
            "/again" => self.show(self.chat.regenerate(self.options())?),
            "/train" => self.train(),
            "/adapters" => self.adapters(),
            _ if command.starts_with('/') => Err(format!("{command}: see /help").into()),
            _ => self.show(self.chat.respond(line, self.options())?),
        }
    }

    fn options(&self) -> Options {
        Options {
            sampling: self.arguments.sampling.sampling(),
            max_tokens: self.arguments.tokens,
            record: true,
        }
    }

    fn show(&mut self, generation: Generation) -> Result<(), Failure> {
        let mut out = std::io::stdout();
        for event in generation {
            match event? {
                Event::Text(text) => {
                    out.write_all(text.as_bytes())?;
                    out.flush()?;
                }
                Event::Done(reply) => self.last = Some(reply),
            }
        }
        writeln!(out)?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let reply = self.last.as_ref().ok_or("there is no reply yet")?;
        Ok(self.learner.signal(reply.id, signal)?)
    }

    fn train(&self) -> Result<(), Failure> {
        let report =
            self.learner.train_slice(Budget::time(Duration::from_secs(60)), &Stop::new())?;
        eprintln!("{report}");
        Ok(())
    }

    fn adapters(&self) -> Result<(), Failure> {
        for g in self.learner.adapters() {
            eprintln!("{:4} {:.12} {:?}", g.number, sapwood::store::hex(&g.digest), g.state);
        }
        Ok(())
    }
}
