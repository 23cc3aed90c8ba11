//! The one constructor of a wasmtime engine, with the ticker that makes its
//! deadlines fire. It knows nothing of plugins or policies.

use std::thread;
use std::time::Duration;

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy};

use crate::limits::MEMORY_BYTES_MAX;
use crate::notice::Notice;

/// How often the epoch moves on: the grain of every deadline.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Most instances' worth of memories and tables at a time.
const POOL_SLOTS: u32 = 1000;
/// Longest table, in elements; a Python interpreter has some 10,000.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 1 << 16;
/// Address space of a memory, of which a guest may use [`MEMORY_BYTES_MAX`]: all that
/// a 32-bit address can say, so that none has to be checked. Nothing of it is memory
/// before it is used.
const MEMORY_RESERVATION: u64 = 4 << 30;
/// Bytes of a returned instance that are wiped by hand and not given back to
/// the system: most policies never touch more.
const KEEP_RESIDENT_BYTES: usize = 64 << 10;

/// No engine could be made: nothing can run here.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The compiler or the sandbox doesn't work on this machine.
    #[error("no WebAssembly engine on this machine: {0}")]
    Unsupported(String),
    /// Deadlines wouldn't fire, so nothing may run.
    #[error("the thread that keeps the deadlines could not be started: {0}")]
    Ticker(std::io::Error),
}

/// An engine whose deadlines fire for as long as anything holds it.
#[derive(Clone)]
pub(crate) struct Engine {
    wasmtime: wasmtime::Engine,
    metered: bool,
}

impl Engine {
    /// An engine with pooled instances whose addresses need no check; or, where the
    /// address space for these isn't to be had, with checks; or without a pool, and
    /// a notice.
    pub(crate) fn new(metered: bool) -> Result<(Self, Option<Notice>), EngineError> {
        const RUNGS: [(bool, u64); 3] =
            [(true, MEMORY_RESERVATION), (true, MEMORY_BYTES_MAX as u64), (false, MEMORY_BYTES_MAX as u64)];
        let mut config = config();
        config.consume_fuel(metered);
        let mut reason = String::new();
        for (pooled, reservation) in RUNGS {
            config.memory_reservation(reservation).allocation_strategy(if pooled {
                InstanceAllocationStrategy::Pooling(pool())
            } else {
                InstanceAllocationStrategy::OnDemand
            });
            match wasmtime::Engine::new(&config) {
                Ok(engine) => {
                    start_ticker(&engine)?;
                    let notice = (!pooled).then_some(Notice::NoInstancePool { reason });
                    return Ok((Self { wasmtime: engine, metered }, notice));
                }
                Err(error) => reason = format!("{error:#}"),
            }
        }
        Err(EngineError::Unsupported(reason))
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }

    /// Whether guests' fuel is counted.
    pub(crate) const fn is_metered(&self) -> bool {
        self.metered
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        // The same history gives the same verdicts on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_component_model(true)
        // Costs half a call where it is on.
        .concurrency_support(false)
        // A guest is given one thread, and nothing that could tell the time.
        .shared_memory(false);
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(POOL_SLOTS)
        .total_core_instances(POOL_SLOTS * 8)
        .total_memories(POOL_SLOTS)
        .total_tables(POOL_SLOTS * 2)
        .max_memories_per_module(8)
        .max_tables_per_module(8)
        .max_memory_size(MEMORY_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Moves the epoch on until nobody holds the engine any more. The thread's own
/// reference is weak, so a runtime that was dropped is gone a tick later.
fn start_ticker(engine: &wasmtime::Engine) -> Result<(), EngineError> {
    let weak = engine.weak();
    let tick = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    thread::Builder::new().name("epoch".to_owned()).spawn(tick).map(drop).map_err(EngineError::Ticker)
}
