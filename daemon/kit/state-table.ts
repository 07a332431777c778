/** A state machine as a table: while in `state`, on `event`, go `to` and do `act`. An absent cell is not understood. */
export type StateTable<State extends string, Event extends string, Act extends string> = {
  readonly [S in State]: { readonly [E in Event]?: Move<State, Act> }
}

export interface Move<State extends string, Act extends string> {
  readonly to: State
  readonly act: Act
}

/** The move for an event, or undefined when the state does not understand it. */
export function moveOf<State extends string, Event extends string, Act extends string>(
  table: StateTable<State, Event, Act>,
  state: State,
  event: Event,
): Move<State, Act> | undefined {
  return table[state][event]
}
