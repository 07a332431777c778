import type { Socket } from 'node:net'

/** What is asked of the daemon. */
export interface WireRequest {
  readonly socketPath: string
  /** With its query. */
  readonly path: string
  readonly method?: 'GET' | 'POST'
  /** Sent as JSON. */
  readonly body?: unknown
  readonly token?: string | undefined
  readonly headers?: Readonly<Record<string, string>>
  /** For the whole answer; for a stream, for its head alone. */
  readonly timeoutMs: number
  /** Ends a stream; the promise then resolves. */
  readonly signal?: AbortSignal | undefined
  /** Called when a stream begins: from here on nothing is missed. */
  readonly onOpen?: (() => void) | undefined
}

export interface WireAnswer {
  readonly status: number
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>
  /** Empty when it was streamed. */
  readonly body: string
}

/**
 * One HTTP/1.1 request over the Unix socket of the daemon, on a connection of its own.
 *
 * Written on `node:net` because loading `node:http` alone takes longer than everything else a probe does.
 *
 * @param onChunk - Takes the body of a successful answer as it comes; without it the body is collected.
 * @throws WireFault
 */
export function exchange(request: WireRequest, onChunk?: (chunk: Buffer) => void): Promise<WireAnswer> {
  return new Promise((resolve, reject) => {
    const { connect } = process.getBuiltinModule('net')
    const where = request.socketPath
    const deadline = AbortSignal.timeout(Math.min(request.timeoutMs, TIMEOUT_MS_MAX))
    const socket: Socket = connect(where)
    const chunks: Buffer[] = []
    let sizeBytes = 0
    let connected = false

    const finish = (fault?: WireFault): void => {
      deadline.removeEventListener('abort', expire)
      request.signal?.removeEventListener('abort', leave)
      socket.destroy()
      if (fault !== undefined) reject(fault)
      resolve({ status: reader.status, headers: reader.headers, body: Buffer.concat(chunks).toString() })
    }
    const expire = (): void =>
      finish(new WireFault(connected ? 'silent' : 'unreachable', where, request.timeoutMs))
    const leave = (): void => finish()
    const take = (chunk: Buffer): void => {
      if (onChunk !== undefined && reader.status < 300) {
        onChunk(chunk)
        return
      }
      sizeBytes += chunk.length
      if (sizeBytes > BODY_BYTES_MAX) throw new WireFault('broken', where)
      chunks.push(chunk)
    }
    const begin = (): void => {
      if (onChunk === undefined || reader.status >= 300) return
      deadline.removeEventListener('abort', expire)
      request.onOpen?.()
    }
    const reader = new AnswerReader(begin, take)

    deadline.addEventListener('abort', expire)
    request.signal?.addEventListener('abort', leave)
    socket.on('connect', () => {
      connected = true
    })
    socket.on('error', (cause) =>
      finish(new WireFault(connected ? 'broken' : 'unreachable', where, 0, { cause })),
    )
    socket.on('close', () => finish(reader.endsHere() ? undefined : new WireFault('broken', where)))
    socket.on('data', (bytes: Buffer) => {
      try {
        if (reader.read(bytes)) finish()
      } catch (error) {
        finish(error instanceof WireFault ? error : new WireFault('broken', where, 0, { cause: error }))
      }
    })
    if (request.signal?.aborted) leave()
    else socket.write(render(request))
  })
}

/** How asking went wrong: nobody listens, nobody answered in time, or what came was no answer. */
export class WireFault extends Error {
  override readonly name = 'WireFault'
  readonly how: 'unreachable' | 'silent' | 'broken'
  readonly where: string

  constructor(how: WireFault['how'], where: string, timeoutMs = 0, options?: ErrorOptions) {
    const said = {
      unreachable: `no daemon answers at ${where}`,
      silent: `the daemon at ${where} gave no answer within ${timeoutMs} ms`,
      broken: `what answers at ${where} ended or spoke out of turn`,
    }
    super(said[how] + reasonOf(options?.cause), options)
    this.how = how
    this.where = where
  }
}

/** The system's code, unless it only says that nobody is there. */
function reasonOf(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  return code === '' || code === 'ENOENT' || code === 'ECONNREFUSED' ? '' : ` (${code})`
}

/** Status of a thousand modules is a megabyte; anything near this is not an answer of ours. */
const BODY_BYTES_MAX = 64 * 1024 * 1024
/** The longest a timer of Node can hold; a longer one would ring at once. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1
const HEAD_BYTES_MAX = 64 * 1024

function render({ path, method = 'GET', body, token, headers }: WireRequest): string {
  const content = body === undefined ? '' : JSON.stringify(body)
  const fields: Record<string, string> = { host: 'localhost', connection: 'close', ...headers }
  if (token !== undefined) fields['authorization'] = `Bearer ${token}`
  if (body !== undefined) fields['content-type'] = 'application/json'
  if (method === 'POST') fields['content-length'] = String(Buffer.byteLength(content))
  // A line break in a value would begin a header of its own.
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value.replace(/[\r\n]/g, ' ')}`)
  return `${method} ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n${content}`
}

/** Reads one HTTP/1.1 answer from bytes that come in any pieces. */
class AnswerReader {
  status = 0
  readonly headers = new Map<string, string>()
  readonly #begin: () => void
  readonly #take: (chunk: Buffer) => void
  #rest: Buffer = Buffer.alloc(0)
  #part: 'head' | 'known' | 'size' | 'chunk' | 'trailer' | 'open' | 'done' = 'head'
  /** Bytes that this part still wants. */
  #wanted = 0

  constructor(begin: () => void, take: (chunk: Buffer) => void) {
    this.#begin = begin
    this.#take = take
  }

  /** Whether the answer is whole now. */
  read(bytes: Buffer): boolean {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    while (this.#part !== 'done' && this.#step());
    return this.#part === 'done'
  }

  /** Whether an end of the connection is the end of the answer. */
  endsHere(): boolean {
    return this.#part === 'done' || this.#part === 'open'
  }

  /** One step; false when it needs more bytes. */
  #step(): boolean {
    switch (this.#part) {
      case 'head':
        return this.#readHead()
      case 'size':
        return this.#readSize()
      case 'trailer':
        return this.#readTrailer()
      case 'open':
        this.#pass(this.#rest.length)
        return false
      case 'known':
      case 'chunk':
        return this.#readBody()
      case 'done':
        return false
    }
  }

  #readHead(): boolean {
    const end = this.#rest.indexOf('\r\n\r\n')
    if (end === -1) {
      if (this.#rest.length > HEAD_BYTES_MAX) throw new Error('the head of the answer does not end')
      return false
    }
    const [first = '', ...lines] = this.#rest.toString('latin1', 0, end).split('\r\n')
    this.#rest = this.#rest.subarray(end + 4)
    const status = /^HTTP\/1\.[01] (\d{3})/.exec(first)?.[1]
    if (status === undefined) throw new Error('the answer is not HTTP')
    if (status.startsWith('1')) return true
    this.status = Number(status)
    for (const line of lines) {
      const colon = line.indexOf(':')
      this.headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim())
    }
    const length = this.headers.get('content-length')
    if (this.status === 204 || this.status === 304 || length === '0') this.#part = 'done'
    else if (this.headers.get('transfer-encoding')?.toLowerCase() === 'chunked') this.#part = 'size'
    else if (length === undefined) this.#part = 'open'
    else this.#part = 'known'
    this.#wanted = Number(length ?? 0)
    this.#begin()
    return true
  }

  #readSize(): boolean {
    const end = this.#rest.indexOf('\r\n')
    if (end === -1) return false
    const digits = /^[0-9a-f]{1,8}(?=;|$)/i.exec(this.#rest.toString('latin1', 0, end))
    if (digits === null) throw new Error('a chunk has no size')
    this.#rest = this.#rest.subarray(end + 2)
    this.#wanted = Number.parseInt(digits[0], 16)
    this.#part = this.#wanted === 0 ? 'trailer' : 'chunk'
    return true
  }

  #readBody(): boolean {
    if (this.#wanted > 0) this.#wanted -= this.#pass(Math.min(this.#wanted, this.#rest.length))
    if (this.#wanted > 0) return false
    if (this.#part === 'known') {
      this.#part = 'done'
      return false
    }
    if (this.#rest.length < 2) return false
    this.#rest = this.#rest.subarray(2)
    this.#part = 'size'
    return true
  }

  #readTrailer(): boolean {
    const end = this.#rest.indexOf('\r\n')
    if (end === -1) return false
    this.#rest = this.#rest.subarray(end + 2)
    if (end === 0) this.#part = 'done'
    return true
  }

  #pass(count: number): number {
    if (count > 0) this.#take(this.#rest.subarray(0, count))
    this.#rest = this.#rest.subarray(count)
    return count
  }
}
