//! How the model learns from its user, as functions from values to values.
//!
//! Nothing here has a clock, a disk, a device or hidden randomness: time comes in as a number,
//! randomness as a seed. So the same journal always gives the same examples, the same batches and
//! the same verdict, and every rule can be tested by simulation.
//!
//! ```text
//! turns ─ example ─► judged turns, examples ─ split ─► train / holdout / shadow
//!            │                                   │          │
//!            └─ trigger: is it time to train?    batch ◄────┘  what the n-th step trains on
//!                                                gate: is the candidate better?
//!                                                exposure: does it know numbers by heart?
//!                                                watch: is it still well in real use?
//! ```

pub mod batch;
pub mod bet;
pub mod example;
pub mod exposure;
pub mod gate;
pub mod loss;
pub mod optimizer;
pub mod posterior;
pub mod rephrase;
pub mod split;
pub mod text;
pub mod train;
pub mod trigger;
pub mod watch;
