//! Drives one node: hands it inputs, carries out its outputs, keeps its timer; sends commands and keeps the replies.

use tombolo::limits::OWN_STATE_WAIT_ON_AIR_MAX;
use tombolo::node::{Command, CommandError, Event, Input, Node, Output, Reply, RequestId};
use tombolo::time::Millis;

use crate::{Happening, SECOND, Seat, Simulation};

/// Outputs of one drain. More is a node that never comes to rest.
const OUTPUTS_MAX: usize = 100_000;
/// The longest that an install takes.
const INSTALL_MAX: Millis = Millis::from_secs(5);
/// Wakes at one instant of virtual time. More is a timer that is always due.
const WAKES_AT_ONCE_MAX: u32 = 1_000;

impl Simulation {
    // ---- asking --------------------------------------------------------------------------------------

    /// Asks a node and returns its reply before anything else happens. Only a write whose author may have newer states
    /// elsewhere (a damaged message can claim so) lets time pass first. The machine must run.
    ///
    /// # Errors
    ///
    /// The refusal of the node.
    pub fn ask(&mut self, seat: Seat, command: impl Into<Command>) -> Result<Reply, CommandError> {
        let request = self.begin(seat, command);
        let end = self.time + OWN_STATE_WAIT_ON_AIR_MAX + SECOND;
        loop {
            if let Some(reply) = self.reply(seat, request) {
                return reply;
            }
            assert!(self.time < end, "every command but Join is answered in time");
            self.run_for(Millis::from_ms(10));
        }
    }

    /// Sends a command whose reply may come later.
    pub fn begin(&mut self, seat: Seat, command: impl Into<Command>) -> RequestId {
        let request = self.next_request(seat);
        self.input(seat, Input::Command { request, command: command.into() });
        request
    }

    /// The reply, once it has come.
    pub fn reply(&mut self, seat: Seat, request: RequestId) -> Option<Result<Reply, CommandError>> {
        self.machine_mut(seat).replies.remove(&request)
    }

    /// Sends a command during which the machine crashes, after so many outputs were polled: with 0 not even the commit
    /// has begun. Returns the reply if it was among those polled.
    pub fn ask_and_crash(
        &mut self,
        seat: Seat,
        command: impl Into<Command>,
        outputs: usize,
    ) -> Option<Result<Reply, CommandError>> {
        let request = self.next_request(seat);
        self.feed(seat, Input::Command { request, command: command.into() });
        self.drain(seat, outputs);
        if outputs > 0 {
            // What was committed stays: the next start may already pass it.
            self.consult_oracle(seat);
        }
        self.crash(seat);
        self.reply(seat, request)
    }

    pub(super) fn next_request(&mut self, seat: Seat) -> RequestId {
        let machine = self.machine_mut(seat);
        machine.last_request += 1;
        RequestId(machine.last_request)
    }

    // ---- the drive of one node -----------------------------------------------------------------------

    pub(super) fn input(&mut self, seat: Seat, input: Input) {
        self.feed(seat, input);
        self.drain(seat, usize::MAX);
        self.consult_oracle(seat);
    }

    pub(super) fn feed(&mut self, seat: Seat, input: Input) {
        match &input {
            Input::Received { bytes, .. } => self.record("received", seat, bytes),
            Input::Timeout => self.record("timeout", seat, &[]),
            _ => self.record("input", seat, &[]),
        }
        let now = self.now(seat);
        let node = self.machine_mut(seat).node.as_mut().expect("only a running machine is given inputs");
        node.handle_input(now, input);
    }

    /// Polls at most so many outputs, then carries them out.
    pub(super) fn drain(&mut self, seat: Seat, outputs_max: usize) {
        let Some(node) = self.machine_mut(seat).node.as_mut() else { return };
        let mut outputs = Vec::new();
        while outputs.len() < outputs_max {
            let Some(output) = node.poll_output() else { break };
            outputs.push(output);
            assert!(outputs.len() < OUTPUTS_MAX, "{seat:?} never comes to rest");
        }
        self.schedule_wake(seat);
        for output in outputs {
            self.carry_out(seat, output);
        }
    }

    pub(super) fn schedule_wake(&mut self, seat: Seat) {
        let now = self.now(seat).mono;
        let due = self.machine(seat).node.as_ref().and_then(Node::poll_timeout);
        if let Some(key) = self.machine_mut(seat).wake.take() {
            self.queue.remove(&key);
        }
        if let Some(due) = due {
            let at = self.time + due.since(now);
            let key = self.at(at, Happening::Wake(seat));
            self.machine_mut(seat).wake = Some(key);
        }
    }

    pub(super) fn woken(&mut self, seat: Seat) {
        let time = self.time;
        let machine = self.machine_mut(seat);
        machine.wake = None;
        machine.wakes_at_once = match machine.wakes_at_once {
            (at, count) if at == time => (at, count + 1),
            _ => (time, 1),
        };
        assert!(machine.wakes_at_once.1 < WAKES_AT_ONCE_MAX, "{seat:?}: a timer is due for ever");
        self.input(seat, Input::Timeout);
    }

    pub(super) fn carry_out(&mut self, seat: Seat, output: Output) {
        match output {
            Output::Send { link, bytes } => {
                self.record("send", seat, &bytes);
                self.transmit(link, bytes);
            }
            Output::Frame { link, bytes } => {
                self.record("frame", seat, &bytes);
                self.put_on_air(seat, link, bytes);
            }
            Output::Close { link } => {
                self.record("close", seat, &[]);
                self.after(Millis::ZERO, Happening::Down { link });
            }
            Output::JoinAnswer { request, bytes } => self.join_answer(seat, request, bytes),
            Output::DialJoin { inviter, bytes, .. } => self.dial_join(seat, inviter, bytes),
            Output::Reply { request, result } => {
                self.record("reply", seat, &[]);
                self.machine_mut(seat).replies.insert(request, result);
            }
            Output::Event(event) => self.event(seat, event),
            Output::CallAnswer { .. } | Output::DialCall { .. } => {
                self.wrong(format!("{seat:?} takes part in a JSON call, which a simulation does not have"));
            }
            Output::Notify { .. } => {
                self.wrong(format!("{seat:?} notifies an operator, and a simulation has none"))
            }
            Output::Install { key, deploy } => {
                self.record("install", seat, deploy.id.as_bytes());
                self.machine_mut(seat).installs.push((key, deploy));
                let after = self.rng.length(Millis::ZERO, INSTALL_MAX);
                let boot = self.machine(seat).booted;
                self.after(after, Happening::Installed { seat, boot, key });
            }
        }
    }

    pub(super) fn event(&mut self, seat: Seat, event: Event) {
        self.record("event", seat, &[]);
        if let Event::Changed(view) = &event {
            self.reads_differently(seat, &view.owner, &view.name);
        }
        match event {
            Event::PeersChanged => self.dial_all(seat),
            Event::JoiningChanged { open } => self.machine_mut(seat).joining = open,
            // Sequence 0: it reads otherwise because rights changed, not because of a new state.
            Event::Changed(view) if view.sequence == 0 => {}
            Event::Changed(view) => {
                let key = (view.owner, view.name, view.author);
                let told = self.machine_mut(seat).reported.entry(key.clone()).or_default();
                let before = std::mem::replace(told, view.sequence);
                if before > view.sequence {
                    self.wrong(format!("{seat:?} went back from {before} to {} in {key:?}", view.sequence));
                }
            }
            Event::Alarm(_) => self.machine_mut(seat).alarms += 1,
            Event::Ended(_) | Event::Link(_) | Event::Deploy(_) | Event::Presence(_) => {}
            other => unreachable!("the simulator knows no such event: {other:?}"),
        }
    }
}
