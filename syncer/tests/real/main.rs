//! Jobs run for real: the production code against an rsync daemon on loopback, in temporary
//! directories. What is claimed of rsync in ARCHITECTURE.md is measured here on each run.

#[cfg(test)]
mod apart;
#[cfg(test)]
mod brake;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod filtered;
#[cfg(test)]
mod hangup;
#[cfg(test)]
mod mirror;
#[cfg(test)]
mod moved;
#[cfg(test)]
mod old;
#[cfg(test)]
mod reconcile;
#[cfg(test)]
mod renamed;
#[cfg(test)]
mod ssh;
#[cfg(test)]
mod verify;
#[cfg(test)]
mod warm;
