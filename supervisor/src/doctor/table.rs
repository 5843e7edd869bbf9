//! The sandbox, tried: for each role of this config, how many of its attempts were refused, and
//! which were not.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use common::config::PluginName;
use common::confine::attempts::{self, Area, Attempt, Expected, Group, Uid, Verdict};
use common::confine::{Access, Confinement, FileRule};
use common::event::TreeId;
use nix::libc::{SIGSYS, SIGXFSZ};

use super::Report;
use super::order::{Enter, Needs, Place, Trial};
use super::probe::{End, Probe};
use super::scene::{self, Scene};
use crate::core::{Lane, PluginId, RemoteId, Role};
use crate::domains;
use crate::plan::Plan;
use crate::privileges::{self, Grounds};

/// Slots of the doctor's uids.
const VICTIM: u32 = 0;
const PROBED: u32 = 1;

/// A role that is tried.
struct Subject {
    name: String,
    role: Role,
    area: Area,
}

/// Tries every role, and says what came of it.
pub(super) fn show(report: &mut Report, plan: &Plan, grounds: Grounds, uids: Option<u32>) {
    report.section("sandbox: attempts refused, of those made");
    let watched = (0_u16..).take(plan.trees()).map(|tree| plan.watch(TreeId(tree)).to_owned()).collect();
    let used: Vec<u16> = subjects(plan)
        .iter()
        .filter_map(|subject| plan.domain(subject.role))
        .flat_map(|domain| domain.connect)
        .collect();
    let scene = match Scene::new(watched, &used) {
        Ok(scene) => scene,
        Err(error) => return report.fail(&format!("no place to try it in: {error}")),
    };
    // The sockets of the rendezvous go there.
    let _ = tempfile::env::override_temp_dir(&scene.private());
    let table = Table { plan, grounds, uids, scene };
    let mut residuals = Vec::new();
    for subject in subjects(plan) {
        match table.examine(&subject) {
            Ok(results) => tell(report, &subject, &results, &mut residuals),
            Err(error) => report.fail(&format!("{}: could not be tried: {error}", subject.name)),
        }
        for damage in table.scene.damage() {
            report.fail(&format!("{}: {damage}", subject.name));
        }
    }
    for (attempt, names) in residuals {
        report.note(&format!("known to be possible: {} ({})", attempt.what, names.join(", ")));
    }
    report.section("work: what the roles need, tried within the sandbox");
    let syncers = (0_u16..).map(RemoteId).take_while(|&id| plan.remote(id).is_some());
    let syncers = syncers.map(|id| Role::Syncer(id, Lane::Batch));
    let watched = plan.has_remotes().then_some(Role::Watcher);
    for role in watched.into_iter().chain(syncers) {
        let name = plan.name(role);
        match table.lacks(role) {
            Ok(lacks) if lacks.is_empty() => report.good(&format!("{name}: it is all there")),
            Ok(lacks) => lacks.iter().for_each(|what| report.fail(&format!("{name}: {what}"))),
            Err(error) => report.fail(&format!("{name}: could not be tried: {error}")),
        }
    }
}

/// The watcher, the keeper, the page, one syncer for each kind of transport with what it starts, and each plugin.
fn subjects(plan: &Plan) -> Vec<Subject> {
    let mut found = Vec::new();
    if plan.has_remotes() {
        found.push(Subject { name: "watcher".to_owned(), role: Role::Watcher, area: Area::Watcher });
    }
    if plan.has_remotes() && plan.config().state.start {
        found.push(Subject { name: plan.name(Role::Keeper), role: Role::Keeper, area: Area::Keeper });
    }
    if plan.config().host.page.is_some() {
        found.push(Subject { name: plan.name(Role::Page), role: Role::Page, area: Area::Page });
    }
    for (transport, program, with_ssh) in [("daemon", "rsync", false), ("ssh", "rsync and ssh", true)] {
        let of_kind = (0_u16..).map(RemoteId).map_while(|id| Some((id, plan.remote(id)?.1)));
        let Some((id, _)) = { of_kind }.find(|(_, remote)| remote.rsync.ssh.is_some() == with_ssh) else {
            continue;
        };
        let role = Role::Syncer(id, Lane::Batch);
        let name = format!("syncer ({transport})");
        found.push(Subject { name: format!("{program} below {name}"), role, area: Area::Program });
        let before = found.len().saturating_sub(1);
        found.insert(before, Subject { name, role, area: Area::Syncer });
    }
    for id in (0_u8..).map(PluginId).take_while(|&id| plan.plugin(id).is_some()) {
        let kind = plan.plugin(id).map(|(plugin, _)| plugin.kind.name());
        let area = if kind == Some(PluginName::Command) { Area::Command } else { Area::Plugin };
        found.push(Subject { name: plan.name(Role::Plugin(id)), role: Role::Plugin(id), area });
    }
    found
}

/// What all examinations share.
struct Table<'a> {
    plan: &'a Plan,
    grounds: Grounds,
    uids: Option<u32>,
    scene: Scene,
}

impl Table<'_> {
    /// Makes all attempts in the place of `subject`.
    fn examine(&self, subject: &Subject) -> io::Result<Vec<(&'static Attempt, Expected, Verdict)>> {
        let mut confinement = self.confinement(subject.role, PROBED)?;
        let own_root = self.scene.own_root(confinement.identity)?;
        reach_stand_ins(&mut confinement, subject.area, &own_root);
        let uid = if confinement.identity.is_some() { Uid::Own } else { Uid::Shared };
        let victim = self.victim()?;
        let targets = self.scene.targets(vec![victim.pid()]);
        let place = if subject.area == Area::Program { Place::Program } else { Place::Role };
        let expected = |attempt: &Attempt| attempt.expected(subject.area, uid);
        let mut left: VecDeque<&'static Attempt> =
            attempts::all().filter(|attempt| expected(attempt) != Expected::Permitted).collect();
        let mut results = Vec::new();
        while !left.is_empty() {
            let names = left.iter().map(|attempt| attempt.name.to_owned()).collect();
            let trial = Trial { attempts: names, targets: targets.clone() };
            let probe = Probe::start(Enter {
                confinement: confinement.clone(),
                place,
                trial,
                needs: Needs::default(),
            })?;
            self.scene.swap()?;
            let (mut verdicts, end) = probe.go()?;
            match end {
                End::Done => {}
                // What ended it is the one that it did not tell of.
                End::Signal(signal @ (SIGSYS | SIGXFSZ)) => verdicts.push(Verdict::Refused(name(signal))),
                End::Signal(signal) => verdicts.push(Verdict::Allowed(format!("it died of signal {signal}"))),
            }
            if verdicts.is_empty() {
                return Err(io::Error::other("it tried nothing"));
            }
            for verdict in verdicts {
                let Some(attempt) = left.pop_front() else { break };
                let verdict = match verdict {
                    Verdict::SeeVictims if scene::was_signalled(victim.pid())? => {
                        Verdict::Allowed("another role received it".to_owned())
                    }
                    Verdict::SeeVictims => Verdict::Refused("no effect".to_owned()),
                    other @ (Verdict::Refused(_) | Verdict::Allowed(_) | Verdict::NotApplicable(_)) => other,
                };
                results.push((attempt, expected(attempt), verdict));
            }
        }
        // It is still there.
        scene::was_signalled(victim.pid()).map_err(|_| io::Error::other("it ended another role"))?;
        Ok(results)
    }

    /// What a role needs and cannot have: its root, its secrets, rsync.
    fn lacks(&self, role: Role) -> io::Result<Vec<String>> {
        let trial = Trial { attempts: Vec::new(), targets: self.scene.targets(Vec::new()) };
        let (confinement, needs) = (self.confinement(role, PROBED)?, self.needs(role));
        Probe::start(Enter { confinement, place: Place::Work, trial, needs })?.needs()
    }

    fn needs(&self, role: Role) -> Needs {
        let plan = self.plan;
        match role {
            Role::Watcher => {
                let roots = (0_u16..).take(plan.trees()).map(|tree| plan.watch(TreeId(tree)).to_owned());
                Needs { directories: roots.collect(), ..Needs::default() }
            }
            Role::Syncer(id, _) => {
                let slice = self.confinement(role, PROBED).ok().and_then(|it| plan.sync_slice(id, it));
                let Some(slice) = slice else { return Needs::default() };
                let root = Path::new(&slice.root);
                let password = slice.remote.rsync.auth.and_then(|auth| auth.password_file);
                let password = || password.map(|file| root.join(file).into_os_string());
                let files = slice.ssh.map(|ssh| ssh.identities);
                let files = files.unwrap_or_else(|| password().into_iter().collect());
                let program = Some(slice.rsync_program);
                Needs { directories: vec![slice.root], files, program }
            }
            Role::Plugin(_) | Role::Keeper | Role::Page => Needs::default(),
        }
    }

    /// A role that is there to be attacked.
    fn victim(&self) -> io::Result<Probe> {
        let confinement = self.confinement(Role::Watcher, VICTIM)?;
        let trial = Trial { attempts: Vec::new(), targets: self.scene.targets(Vec::new()) };
        Probe::start(Enter { confinement, place: Place::Victim, trial, needs: Needs::default() })
    }

    /// What the supervisor would tell a role.
    fn confinement(&self, role: Role, slot: u32) -> io::Result<Confinement> {
        let uid = self.uids.map(|first| first.saturating_add(slot));
        let subject = self.plan.subject(role).ok_or_else(|| io::Error::other("there is no such role"))?;
        Ok(privileges::confinement(subject, uid, self.plan.domain(role), self.plan.config(), self.grounds))
    }
}

/// The stand-in for the role's root, and for rsync's: what it may do with the real ones.
fn reach_stand_ins(confinement: &mut Confinement, area: Area, own_root: &Path) {
    let Some(domain) = &mut confinement.domain else { return };
    let rule = |path: &Path, access| FileRule { path: path.into(), access };
    match area {
        Area::Watcher => domain.files.push(rule(own_root, Access::List)),
        Area::Syncer => domain.files.push(rule(own_root, Access::ReadTree)),
        Area::Program => {
            domain.files.push(rule(own_root, Access::ReadTree));
            let own: Option<PathBuf> = std::env::current_exe().ok();
            let loader = own.as_deref().and_then(|own| domains::interpreter(own).ok().flatten());
            domain.files.extend([own, loader].into_iter().flatten().map(|path| rule(&path, Access::Execute)));
        }
        Area::Keeper | Area::Page | Area::Plugin | Area::Command => {}
    }
}

/// One line for the role, and one for each attempt that should have been refused.
fn tell(
    report: &mut Report,
    subject: &Subject,
    results: &[(&'static Attempt, Expected, Verdict)],
    residuals: &mut Vec<(&'static Attempt, Vec<String>)>,
) {
    let required = || results.iter().filter(|(_, expected, _)| *expected == Expected::Refused);
    let counts = Group::ALL.map(|group| {
        let of_group = || required().filter(|(attempt, ..)| attempt.group == group);
        let made = of_group().filter(|(.., verdict)| !matches!(verdict, Verdict::NotApplicable(_))).count();
        let refused = of_group().filter(|(.., verdict)| matches!(verdict, Verdict::Refused(_))).count();
        format!("{} {refused}/{made}", group.as_str())
    });
    let is_open = |verdict: &Verdict| matches!(verdict, Verdict::Allowed(_));
    let line = format!("{:30} {}", subject.name, counts.join("  "));
    if required().any(|(.., verdict)| is_open(verdict)) {
        report.fail(&line);
    } else {
        report.good(&line);
    }
    for (attempt, expected, verdict) in results {
        match (expected, verdict) {
            (Expected::Refused, Verdict::Allowed(seen)) => {
                report
                    .fail(&format!("{}: ALLOWED: {} ({}): {seen}", subject.name, attempt.what, attempt.name));
            }
            (Expected::Residual, Verdict::Allowed(_)) => {
                match residuals.iter_mut().find(|(known, _)| known.name == attempt.name) {
                    Some((_, names)) => names.push(subject.name.clone()),
                    None => residuals.push((attempt, vec![subject.name.clone()])),
                }
            }
            (Expected::Refused | Expected::Residual | Expected::Permitted, _) => {}
        }
    }
}

fn name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal)
        .map_or_else(|_| signal.to_string(), |signal| signal.to_string())
}
