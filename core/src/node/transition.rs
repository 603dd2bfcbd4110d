//! What becomes of the wish to reach a peer: one pure function from state and input to state and effects.

use super::Intent;

/// Where the effort to reach a peer stands. The connections to it are counted apart, in [`Presence`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Effort {
    /// None is made.
    Idle,
    /// The last one failed; the next one begins when the backoff ends.
    Waiting,
    /// Addresses are being resolved, dialed or upgraded.
    Dialing,
    /// The application's handshake failed: nothing in either direction until the cooldown ends.
    Cooldown,
}

/// What connections there are to a peer, apart from those of an effort that is under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Presence {
    /// None that is open.
    Absent,
    /// At least one is open and not being drained.
    Present,
    /// All that are open are being drained.
    Leaving,
}

/// What happens to a peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Input {
    /// The application wants a connection now.
    Connect,
    /// The application wants the peer kept from now on: it has become persistent.
    Keep,
    /// The application knows a new address of a peer that it wants.
    NewAddr,
    /// The application gives up the effort, but not the connections.
    Cancel,
    /// The application wants no connection: its wish is withdrawn. Or the peer is banned.
    Disconnect,
    /// The peer is forgotten, or everything ends.
    Expel,
    /// The timer of [`Effort::Waiting`] or [`Effort::Cooldown`] ran out.
    TimerExpired,
    /// Every attempt of the effort has failed.
    DialFailed,
    /// A connection has opened, whoever dialed it.
    Opened,
    /// The application's handshake failed on a connection.
    HandshakeFailed,
    /// The last open connection is gone.
    Lost,
}

/// What the node does when it takes a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Effect {
    /// Begin to resolve and dial.
    Dial,
    /// Give up the attempts that are under way, the connections that they make included.
    AbortAttempts,
    /// Begin no other attempt, and give up those without a transport. Connections that are being made go on: the peer
    /// may have opened the same one already, and giving it up on both sides would leave none.
    EndDial,
    /// Arm the backoff timer.
    ArmBackoff,
    /// Arm the cooldown timer.
    ArmCooldown,
    /// Disarm either.
    DisarmTimer,
    /// Let no dial follow the cooldown.
    CallOff,
    /// Let one follow again.
    CallOn,
    /// Drain every connection.
    Drain,
}

/// Why a command is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Refusal {
    AlreadyConnected,
    Cooldown,
}

/// One cell of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cell {
    Next(Effort, &'static [Effect]),
    /// Nothing changes: the input is late, or asks for what is so already.
    Ignored,
    Refused(Refusal),
}

/// What a peer's state is, for [`step`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) intent: Intent,
    pub(crate) effort: Effort,
    pub(crate) presence: Presence,
    /// A transient peer has attempts left, and nobody has called off what follows the cooldown.
    pub(crate) may_retry: bool,
}

impl State {
    /// A failure or a loss is followed by another attempt.
    fn retries(self) -> bool {
        match self.intent {
            Intent::Persistent | Intent::Transient => self.may_retry,
            Intent::Dormant => false,
        }
    }
}

/// The table. A test enumerates it.
///
#[doc = include_str!("transition.md")]
pub(crate) fn step(state: State, input: Input) -> Cell {
    use Effect::{AbortAttempts, ArmBackoff, ArmCooldown, CallOff, CallOn, Dial, DisarmTimer, Drain, EndDial};
    use Effort::{Cooldown, Dialing, Idle, Waiting};
    let is_present = state.presence == Presence::Present;
    match (input, state.effort) {
        (Input::Connect, Cooldown) => Cell::Refused(Refusal::Cooldown),
        (Input::Connect, Dialing) => Cell::Ignored,
        (Input::Connect, Idle | Waiting) if is_present => Cell::Refused(Refusal::AlreadyConnected),
        (Input::Keep, Idle) if is_present => Cell::Ignored,
        (Input::Connect | Input::Keep, Idle) => Cell::Next(Dialing, &[Dial]),
        (Input::Connect, Waiting) => Cell::Next(Dialing, &[DisarmTimer, Dial]),
        (Input::Keep, Cooldown) => Cell::Next(Cooldown, &[CallOn]),
        (Input::Keep, Waiting | Dialing) => Cell::Ignored,

        (Input::NewAddr, Waiting) if !is_present => Cell::Next(Dialing, &[DisarmTimer, Dial]),
        (Input::NewAddr, Idle | Waiting | Dialing | Cooldown) => Cell::Ignored,

        (Input::Cancel, Waiting) => Cell::Next(Idle, &[DisarmTimer]),
        (Input::Cancel, Dialing) => Cell::Next(Idle, &[AbortAttempts]),
        (Input::Cancel, Cooldown) => Cell::Next(Cooldown, &[CallOff]),
        (Input::Cancel, Idle) => Cell::Ignored,

        (Input::Disconnect | Input::Expel, Idle) => Cell::Next(Idle, &[Drain]),
        (Input::Disconnect | Input::Expel, Waiting) => Cell::Next(Idle, &[DisarmTimer, Drain]),
        (Input::Disconnect | Input::Expel, Dialing) => Cell::Next(Idle, &[AbortAttempts, Drain]),
        (Input::Disconnect, Cooldown) => Cell::Next(Cooldown, &[Drain]),
        (Input::Expel, Cooldown) => Cell::Next(Idle, &[DisarmTimer, Drain]),

        (Input::TimerExpired, Waiting) if is_present => Cell::Next(Idle, &[]),
        (Input::TimerExpired, Waiting) => Cell::Next(Dialing, &[Dial]),
        (Input::TimerExpired, Cooldown) if state.retries() && !is_present => Cell::Next(Dialing, &[Dial]),
        (Input::TimerExpired, Cooldown) => Cell::Next(Idle, &[]),
        (Input::TimerExpired, Idle | Dialing) => Cell::Ignored,

        (Input::DialFailed, Dialing) if !is_present && state.retries() => Cell::Next(Waiting, &[ArmBackoff]),
        (Input::DialFailed, Dialing) => Cell::Next(Idle, &[]),
        (Input::DialFailed, Idle | Waiting | Cooldown) => Cell::Ignored,

        (Input::Opened, Idle) => Cell::Ignored,
        (Input::Opened, Waiting) => Cell::Next(Idle, &[DisarmTimer]),
        (Input::Opened, Dialing) => Cell::Next(Idle, &[EndDial]),
        (Input::Opened, Cooldown) => Cell::Next(Cooldown, &[Drain]),

        (Input::HandshakeFailed, Idle) => Cell::Next(Cooldown, &[ArmCooldown, Drain]),
        (Input::HandshakeFailed, Waiting) => Cell::Next(Cooldown, &[DisarmTimer, ArmCooldown, Drain]),
        (Input::HandshakeFailed, Dialing) => Cell::Next(Cooldown, &[AbortAttempts, ArmCooldown, Drain]),
        (Input::HandshakeFailed, Cooldown) => Cell::Next(Cooldown, &[Drain]),

        (Input::Lost, Idle) if state.retries() => Cell::Next(Waiting, &[ArmBackoff]),
        (Input::Lost, Idle | Waiting | Dialing | Cooldown) => Cell::Ignored,
    }
}
