import type { Actor } from '../contracts/fact.ts'
import type { FailureCode, NexusError } from '../contracts/failure.ts'
import type { Clock, Timer } from '../kit/clock.ts'
import { scrub } from '../telemetry/redact.ts'
import type { Recorder } from './port.ts'

/** A person's mistakes fit; a guesser's flood becomes one record a second, not a sync for each guess. */
const SINGLE_MAX_PER_WINDOW = 10
const WINDOW_MS = 1_000
/** What a record quotes of a request that was refused. */
const TEXT_MAX = 200
const ISSUES_MAX = 5
const NAMES_MAX = 16

export interface Refusal {
  readonly command: string
  readonly actor: Actor
  readonly error: NexusError
}

interface Flood {
  count: number
  readonly codes: Map<FailureCode, number>
  readonly principals: Set<string>
}

/**
 * Journals refusals: each of the first ten in a second by itself, the rest of that second as one record with counts.
 *
 * A refusal stands whether or not it could be recorded, so nothing here rejects.
 */
export class RefusalBook {
  readonly #recorder: Recorder
  readonly #clock: Clock
  readonly #complain: (cause: unknown) => void
  #singles = 0
  #flood: Flood | undefined
  #window: Timer | undefined

  constructor(parts: { recorder: Recorder; clock: Clock; complain: (cause: unknown) => void }) {
    this.#recorder = parts.recorder
    this.#clock = parts.clock
    this.#complain = parts.complain
  }

  /** Resolves when the record is durable; at once when it only adds to a flood. */
  async note(refusal: Refusal): Promise<void> {
    this.#window ??= this.#clock.after(WINDOW_MS, () => void this.#closeWindow()) // Never rejects.
    this.#singles += 1
    if (this.#singles > SINGLE_MAX_PER_WINDOW) return this.#count(refusal)
    const { command, actor, error } = refusal
    await this.#append(actor, { command: clip(command), code: error.code, ...quote(error) })
  }

  /** Writes what is still counted. */
  async close(): Promise<void> {
    this.#window?.cancel()
    await this.#closeWindow()
  }

  #count({ actor, error }: Refusal): void {
    this.#flood ??= { count: 0, codes: new Map(), principals: new Set() }
    this.#flood.count += 1
    this.#flood.codes.set(error.code, (this.#flood.codes.get(error.code) ?? 0) + 1)
    if (this.#flood.principals.size < NAMES_MAX) this.#flood.principals.add(`${actor.kind}:${actor.name}`)
  }

  async #closeWindow(): Promise<void> {
    const flood = this.#flood
    this.#window = undefined
    this.#flood = undefined
    this.#singles = 0
    if (flood === undefined) return
    await this.#append(
      { kind: 'daemon', name: 'gate' },
      {
        command: 'many',
        count: flood.count,
        codes: Object.fromEntries(flood.codes),
        principals: [...flood.principals],
      },
    )
  }

  async #append(actor: Actor, d: Readonly<Record<string, unknown>>): Promise<void> {
    try {
      await this.#recorder.append({ type: 'command.refused', actor, d })
    } catch (cause) {
      this.#complain(cause)
    }
  }
}

function quote(error: NexusError): object {
  const facts = Object.entries(error.facts).map(([name, value]) => [
    name,
    typeof value === 'string' ? clip(value) : value,
  ])
  const issues = error.issues
    .slice(0, ISSUES_MAX)
    .map(({ pointer, detail }) => ({ pointer: clip(pointer), detail: clip(detail) }))
  return { facts: Object.fromEntries(facts), ...(issues.length > 0 && { issues }) }
}

function clip(text: string): string {
  return scrub(text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text)
}
