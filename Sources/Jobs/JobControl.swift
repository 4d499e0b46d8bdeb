import Synchronization

/// The way from those who want a running job to end to its worker.
package final class JobControl: Sendable {
    /// Why a worker is to stop.
    package enum Wish: Sendable {
        /// The server stops: the job goes on later.
        case interrupt
        /// Its owner wants it to end.
        case cancel
    }

    private struct State {
        var wish: Wish?
        var act: (@Sendable (Wish) -> Void)?
    }

    private let state = Mutex(State())

    /// A control that asks for nothing.
    package init() {}

    /// What was asked for; a wish to cancel outweighs one to interrupt.
    package var wish: Wish? { state.withLock { $0.wish } }

    /// Has `act` called when something is asked for, at once when it was before; nil forgets the last one.
    package func onWish(_ act: (@Sendable (Wish) -> Void)?) {
        let asked = state.withLock { state in
            state.act = act
            return state.wish
        }
        if let asked { act?(asked) }
    }

    /// Asks the worker to stop.
    package func ask(_ wish: Wish) {
        let act = state.withLock { state in
            if state.wish != .cancel { state.wish = wish }
            return state.act
        }
        act?(wish)
    }
}
