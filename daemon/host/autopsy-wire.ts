import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import type { InspectorAddress } from './autopsy-door.ts'

export interface WireAudience {
  /** The other end took the connection. */
  open(): void
  /** An event of the inspector. Answers to what was said are let pass: nothing here needs one. */
  event(method: string, params: unknown): void
  /** Called once, whoever ended it, and also when it never opened. */
  closed(): void
}

/**
 * A connection to an inspector: as much of WebSocket (RFC 6455) as it takes. Node's own client would load the whole of
 * undici into the daemon, seven megabytes for a handful of messages.
 *
 * The other end is a module's process and may be hostile: what it sends is bounded, and whatever does not look right
 * ends the connection.
 */
export class InspectorWire {
  readonly #socket: Socket
  readonly #to: WireAudience
  #buffer: Buffer = Buffer.alloc(0)
  #text: Buffer[] = []
  #bytesLeft = BYTES_MAX
  #upgraded = false
  #lastId = 0

  constructor({ port, path }: InspectorAddress, to: WireAudience) {
    this.#to = to
    this.#socket = connect({ host: '127.0.0.1', port, noDelay: true })
    this.#socket.on('connect', () => this.#socket.write(greeting(port, path)))
    this.#socket.on('data', (chunk: Buffer) => this.#hear(chunk))
    // Its close follows, and is all that matters.
    this.#socket.on('error', () => undefined)
    this.#socket.on('close', () => to.closed())
  }

  say(method: string, params: object = {}): void {
    this.#lastId += 1
    this.#socket.write(frameOf(JSON.stringify({ id: this.#lastId, method, params })))
  }

  /** What was said is still heard; then the session ends, and with it everything that it held up. */
  end(): void {
    this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #hear(chunk: Buffer): void {
    this.#bytesLeft -= chunk.length
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk])
    if (this.#bytesLeft < 0 || !this.#read()) this.destroy()
  }

  /** Takes what has come as a whole. Returns whether the conversation goes on. */
  #read(): boolean {
    if (!this.#upgraded) {
      const end = this.#buffer.indexOf('\r\n\r\n')
      if (end === -1) return true
      if (!this.#buffer.toString('latin1', 0, end).startsWith('HTTP/1.1 101 ')) return false
      this.#buffer = this.#buffer.subarray(end + 4)
      this.#upgraded = true
      this.#to.open()
    }
    for (let frame = takeFrame(this.#buffer); frame !== undefined; frame = takeFrame(this.#buffer)) {
      this.#buffer = frame.rest
      if (!this.#take(frame)) return false
    }
    return true
  }

  /** Returns whether the conversation goes on. */
  #take({ opcode, isLast, payload }: Frame): boolean {
    if (opcode === CLOSE) return false
    if (opcode !== TEXT && opcode !== CONTINUATION) return true
    this.#text.push(payload)
    if (!isLast) return true
    const text = Buffer.concat(this.#text).toString('utf8')
    this.#text = []
    const message = parse(text)
    if (message === undefined) return false
    if (typeof message.method === 'string') this.#to.event(message.method, message.params)
    return true
  }
}

interface Frame {
  readonly opcode: number
  readonly isLast: boolean
  readonly payload: Buffer
  readonly rest: Buffer
}

/** The first frame of a buffer, when it is there as a whole. */
function takeFrame(buffer: Buffer): Frame | undefined {
  if (buffer.length < 2) return undefined
  const short = buffer.readUInt8(1) & 0x7f
  const from = short === 126 ? 4 : short === 127 ? 10 : 2
  if (buffer.length < from) return undefined
  const bytes =
    short === 126 ? buffer.readUInt16BE(2) : short === 127 ? Number(buffer.readBigUInt64BE(2)) : short
  if (buffer.length < from + bytes) return undefined
  const first = buffer.readUInt8(0)
  return {
    opcode: first & 0x0f,
    isLast: (first & 0x80) !== 0,
    payload: buffer.subarray(from, from + bytes),
    rest: buffer.subarray(from + bytes),
  }
}

/** A client's frames are masked; with zeros, since nothing between the two could be misled. */
function frameOf(text: string): Buffer {
  const payload = Buffer.from(text)
  const head = Buffer.alloc(8)
  head.writeUInt8(0x80 | TEXT, 0)
  head.writeUInt8(0x80 | 126, 1)
  head.writeUInt16BE(payload.length, 2)
  return Buffer.concat([head, payload])
}

function greeting(port: number, path: string): string {
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
    'Sec-WebSocket-Version: 13',
  ]
  return `${lines.join('\r\n')}\r\n\r\n`
}

function parse(text: string): { method?: unknown; params?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

const CONTINUATION = 0
const TEXT = 1
const CLOSE = 8
/** It names every script that was loaded, some 700 bytes each: this is for twenty thousand. */
const BYTES_MAX = 16 * 1_048_576
