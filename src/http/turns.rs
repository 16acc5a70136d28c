//! Turns at what takes long: as many at a time as there are processors, so that a crowd that wants long
//! lists leaves them to those who want little, too.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Who is at it, and who waits.
#[derive(Debug)]
pub struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Semaphore::new(processors))
    }
}

impl Turns {
    /// Waits for one's turn, which lasts as long as what is returned.
    pub(super) async fn mine(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.0.acquire().await.ok()
    }
}
