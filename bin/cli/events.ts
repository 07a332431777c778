import { ask, read } from '../../aeon-interface/client.ts'
import type { Fact } from '../../daemon/contracts/fact.ts'
import type { MissionProgress } from '../../daemon/contracts/mission.ts'
import type { Cli } from './cli.ts'
import { CliError } from './exit.ts'

export interface FollowOptions {
  /** `mission.*`, `module.crashed`; nothing is everything. */
  readonly types?: readonly string[]
  /** Sequence number behind which to begin; what happens from now on when it is left out. */
  readonly after?: number
  /** Called when facts begin to come: what is asked from now on, the facts since then tell the rest of. */
  readonly onOpen?: () => void
  readonly onFact: (fact: Fact) => void
  /** What running steps say of themselves; comes where `types` names `mission.progress`. */
  readonly onProgress?: (progress: MissionProgress & { readonly mission_id: string }) => void
  readonly signal: AbortSignal
}

/**
 * Hands over facts as they become durable, until the signal aborts. One that was too slow resumes where it stopped.
 *
 * @throws DaemonUnreachable, DaemonError; CliError when the daemon ends the stream.
 */
export async function follow(cli: Cli, options: FollowOptions): Promise<void> {
  const { types, onOpen, onFact, onProgress, signal } = options
  let after = options.after
  let opened = false
  for (;;) {
    let lagged = false
    const parser = new EventParser(({ event, data }) => {
      if (event === 'lagged') {
        lagged = true
        return
      }
      if (event === 'mission.progress') {
        onProgress?.(JSON.parse(data))
        return
      }
      const fact: Fact = JSON.parse(data)
      after = fact.seq
      onFact(fact)
    })
    const query = new URLSearchParams()
    if (types !== undefined) query.set('types', types.join(','))
    if (after !== undefined) query.set('after', String(after))
    const begin = (): void => {
      if (!opened) onOpen?.()
      opened = true
    }
    const path = `/v1/events?${query}`
    const answer = await ask(path, { socketPath: cli.socketPath, signal, onOpen: begin }, (chunk) =>
      parser.feed(chunk),
    )
    if (signal.aborted) return
    if (answer.status >= 300) read(answer)
    if (!lagged) throw new CliError('unreachable', 'the daemon ended the stream of events', 'is it stopping?')
  }
}

export interface ServerEvent {
  readonly event: string
  readonly data: string
}

/** Reads `text/event-stream` from bytes that come in any pieces. */
export class EventParser {
  readonly #onEvent: (event: ServerEvent) => void
  readonly #lines: LineSplitter
  #event = 'message'
  #data: string[] = []

  constructor(onEvent: (event: ServerEvent) => void) {
    this.#onEvent = onEvent
    this.#lines = new LineSplitter((line) => this.#read(line))
  }

  feed(chunk: Uint8Array): void {
    this.#lines.feed(chunk)
  }

  #read(line: string): void {
    if (line === '') {
      if (this.#data.length > 0) this.#onEvent({ event: this.#event, data: this.#data.join('\n') })
      this.#event = 'message'
      this.#data = []
      return
    }
    const [, field = '', value = ''] = /^([^:]*):? ?(.*)$/.exec(line) ?? []
    if (field === 'event') this.#event = value
    if (field === 'data') this.#data.push(value)
  }
}

/** Cuts a stream of UTF-8 into lines; a character may be cut between two chunks. */
export class LineSplitter {
  readonly #onLine: (line: string) => void
  readonly #decoder = new TextDecoder()
  #rest = ''

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine
  }

  feed(chunk: Uint8Array): void {
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#onLine(line.endsWith('\r') ? line.slice(0, -1) : line)
  }
}
