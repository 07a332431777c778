import { createConnection, type Socket } from 'node:net'
import { quantile } from '../kit/numbers.ts'
import { FactWaiter } from './fact-waiter.ts'
import { missionBody } from './modules.ts'

/*
 * The client of the load, in a process of its own and lean: raw connections that are kept, requests made ahead, and
 * of each answer only what is needed. Its order comes as JSON in its argument, its report leaves as JSON on stdout.
 */

export interface ClientOrder {
  readonly target: { readonly path: string } | { readonly host: string; readonly port: number }
  /** Where facts are read. */
  readonly socketPath: string
  readonly token: string
  /**
   * `create`: one request for each mission; `batch`: many in one; `events`, `run`: one mission after the other;
   * `read`: no missions, but the pages of `paths` by turns.
   */
  readonly how: 'create' | 'batch' | 'events' | 'run' | 'read'
  readonly missions: number
  readonly connections: number
  readonly perBatch?: number
  readonly action?: string
  readonly paths?: readonly string[]
}

export interface ClientReport {
  /** Wall clock, with fractions, so that other processes can go on counting. */
  readonly startedMs: number
  readonly endedMs: number
  /** How many requests were answered with each status. */
  readonly statuses: Readonly<Record<string, number>>
  /** Of each request; of each whole mission for `events` and `run`. */
  readonly p50Ms: number
  readonly p99Ms: number
  /** Share of the time in which this process used a processor. */
  readonly busy: number
  /** The first answer that was no success. */
  readonly complaint?: string
}

export async function runClient(order: ClientOrder): Promise<ClientReport> {
  const tally = new Tally()
  const lines = await Promise.all(Array.from({ length: order.connections }, () => Line.open(order)))
  const facts = order.how === 'events' ? await FactWaiter.open(order.socketPath, order.token) : undefined
  const startedMs = nowMs()
  const cpu = process.cpuUsage()
  let next = 0
  await Promise.all(
    lines.map(async (line) => {
      for (;;) {
        const at = next
        if (at >= order.missions) return
        next += order.how === 'batch' ? (order.perBatch ?? 1) : 1
        const beganMs = performance.now()
        await oneTurn(line, order, at, tally, facts)
        tally.times.push(performance.now() - beganMs)
      }
    }),
  )
  const endedMs = nowMs()
  const { user, system } = process.cpuUsage(cpu)
  for (const line of lines) line.close()
  facts?.close()
  return {
    startedMs,
    endedMs,
    statuses: Object.fromEntries(tally.statuses),
    p50Ms: quantile(tally.times, 0.5),
    p99Ms: quantile(tally.times, 0.99),
    busy: (user + system) / 1_000 / (endedMs - startedMs),
    ...(tally.complaint === undefined ? {} : { complaint: tally.complaint }),
  }
}

async function oneTurn(
  line: Line,
  order: ClientOrder,
  at: number,
  tally: Tally,
  facts: FactWaiter | undefined,
): Promise<void> {
  if (order.how === 'batch') {
    const size = Math.min(order.perBatch ?? 1, order.missions - at)
    const missions = Array.from({ length: size }, (_, offset) => missionBody(at + offset, order.action))
    tally.take(await line.post('/v1/missions/batch', { missions }))
    return
  }
  if (order.how === 'read') {
    tally.take(await line.get(order.paths?.[at % order.paths.length] ?? '/livez'))
    return
  }
  const created = await line.post('/v1/missions/create', missionBody(at, order.action))
  tally.take(created)
  if (order.how === 'create') return
  const id = /"mission_id":"([^"]+)"/.exec(created.body.toString('latin1'))?.[1] ?? ''
  if (order.how === 'events') await facts?.ended(id)
  else tally.take(await line.post('/v1/missions/run', { mission_id: id }))
}

class Tally {
  readonly statuses = new Map<string, number>()
  readonly times: number[] = []
  complaint: string | undefined

  take({ status, body }: RawAnswer): void {
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
    if (!status.startsWith('2')) this.complaint ??= `${status} ${body.toString().slice(0, 500)}`
  }
}

interface RawAnswer {
  readonly status: string
  readonly body: Buffer
}

/** One kept connection, one request at a time. */
class Line {
  readonly #socket: Socket
  readonly #head: string
  #received: Buffer[] = []
  #size = 0
  /** Bytes of the whole answer, once its head has been read. */
  #due = 0
  #bodyAt = 0
  #answer: PromiseWithResolvers<RawAnswer> | undefined

  static async open({ target, token }: ClientOrder): Promise<Line> {
    const socket = createConnection(target)
    socket.setNoDelay(true)
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    return new Line(socket, token)
  }

  private constructor(socket: Socket, token: string) {
    this.#socket = socket
    this.#head = `host: localhost\r\nauthorization: Bearer ${token}\r\n`
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    const lost = (error?: Error): void =>
      this.#answer?.reject(error instanceof Error ? error : new Error('the connection was closed'))
    socket.on('error', lost)
    socket.on('close', () => lost())
  }

  get(path: string): Promise<RawAnswer> {
    return this.#ask(`GET ${path} HTTP/1.1\r\n${this.#head}\r\n`)
  }

  post(path: string, body: object): Promise<RawAnswer> {
    const text = JSON.stringify(body)
    const length = `content-length: ${Buffer.byteLength(text)}\r\n`
    return this.#ask(`POST ${path} HTTP/1.1\r\n${this.#head}${JSON_TYPE}${length}\r\n${text}`)
  }

  #ask(text: string): Promise<RawAnswer> {
    this.#answer = Promise.withResolvers()
    this.#socket.write(text)
    return this.#answer.promise
  }

  close(): void {
    this.#answer = undefined
    this.#socket.destroy()
  }

  #take(chunk: Buffer): void {
    this.#received.push(chunk)
    this.#size += chunk.length
    if (this.#due === 0 && !this.#readHead()) return
    if (this.#size < this.#due) return
    const all = this.#whole()
    const answer = this.#answer
    this.#received = []
    this.#size = 0
    this.#due = 0
    answer?.resolve({ status: all.toString('latin1', 9, 12), body: all.subarray(this.#bodyAt) })
  }

  #readHead(): boolean {
    const all = this.#whole()
    const end = all.indexOf('\r\n\r\n')
    if (end < 0) return false
    const length = /\r\ncontent-length: *(\d+)/i.exec(all.toString('latin1', 0, end))?.[1]
    if (length === undefined) this.#answer?.reject(new Error('an answer without a length'))
    this.#bodyAt = end + 4
    this.#due = this.#bodyAt + Number(length)
    return true
  }

  #whole(): Buffer {
    if (this.#received.length > 1) this.#received = [Buffer.concat(this.#received)]
    return this.#received[0] ?? Buffer.alloc(0)
  }
}

const JSON_TYPE = 'content-type: application/json\r\n'

function nowMs(): number {
  return performance.timeOrigin + performance.now()
}

if (import.meta.main) {
  const report = await runClient(JSON.parse(process.argv[2] ?? ''))
  process.stdout.write(JSON.stringify(report))
}
