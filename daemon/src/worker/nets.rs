//! The nets that a worker holds, by the load that brought them. What a net is, is
//! for the store and the stage that uses it to know.

use std::{any::Any, collections::BTreeMap};

use super::{
    child::internal,
    frames::{Failure, FailureKind},
};

/// Where nets come from.
pub trait NetStore: Send {
    /// Graph and weights of `net` in the memory of this worker's device. Failures that matter to the
    /// daemon: `OutOfMemory`, `WeightsMissing`, `WeightsDamaged`, `DeviceFault`, `Cancelled`.
    fn load(&mut self, net: &str) -> Result<Box<dyn Any + Send>, Failure>;
}

/// For builds without nets.
pub struct NoNets;

impl NetStore for NoNets {
    fn load(&mut self, net: &str) -> Result<Box<dyn Any + Send>, Failure> {
        Err(Failure {
            kind: FailureKind::WeightsMissing,
            message: format!("this build has no net `{net}`"),
            hint: "choose another engine".to_owned(),
        })
    }
}

/// Loaded nets, by id.
#[derive(Default)]
pub struct WarmNets(BTreeMap<String, (u64, Box<dyn Any + Send>)>);

impl WarmNets {
    pub fn load(&mut self, load: u64, net: &str, store: &mut dyn NetStore) -> Result<(), Failure> {
        if self.0.contains_key(net) {
            return Err(internal(format!("net `{net}` is loaded already")));
        }
        self.0.insert(net.to_owned(), (load, store.load(net)?));
        Ok(())
    }

    /// Only what this load brought: a later one of the same net stays.
    pub fn unload(&mut self, load: u64, net: &str) {
        if self.0.get(net).is_some_and(|(own, _)| *own == load) {
            self.0.remove(net);
        }
    }

    /// A net that a run names.
    pub fn get(&mut self, net: &str) -> Result<&mut (dyn Any + Send), Failure> {
        match self.0.get_mut(net) {
            Some((_, net)) => Ok(&mut **net),
            None => Err(internal(format!("net `{net}` is not loaded"))),
        }
    }

    pub fn check(&self, nets: &[String]) -> Result<(), Failure> {
        match nets.iter().find(|net| !self.0.contains_key(*net)) {
            Some(net) => Err(internal(format!("net `{net}` is not loaded"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers(u32);

    impl NetStore for Numbers {
        fn load(&mut self, _: &str) -> Result<Box<dyn Any + Send>, Failure> {
            self.0 += 1;
            Ok(Box::new(self.0))
        }
    }

    #[test]
    fn a_late_unload_does_not_hit_the_net_that_was_loaded_since() {
        let (mut nets, mut store) = (WarmNets::default(), Numbers(0));
        nets.load(1, "a", &mut store).unwrap();
        assert!(nets.load(2, "a", &mut store).is_err(), "it is there already");
        nets.unload(1, "a");
        assert_eq!(nets.get("a").err().unwrap().message, "net `a` is not loaded");
        nets.load(3, "a", &mut store).unwrap();
        nets.unload(1, "a");
        assert_eq!(nets.get("a").unwrap().downcast_ref(), Some(&2u32));
        assert!(nets.check(&["a".to_owned()]).is_ok() && nets.check(&["b".to_owned()]).is_err());
    }

    #[test]
    fn a_build_without_nets_says_so() {
        let failure = WarmNets::default().load(1, "a", &mut NoNets).unwrap_err();
        assert_eq!(failure.kind, FailureKind::WeightsMissing);
    }
}
