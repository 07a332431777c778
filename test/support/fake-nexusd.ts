import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createNetServer, type Server as NetServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { shortDir } from './short-dir.ts'

export interface Asked {
  readonly method: string
  readonly url: string
  readonly authorization: string | undefined
  readonly headers: IncomingMessage['headers']
  readonly body: unknown
}

/** What a route answers: JSON with 200, a status with JSON, or whatever it does with the response itself. */
export type Route =
  | { readonly status: number; readonly json: unknown }
  | ((asked: Asked, response: ServerResponse) => unknown)

interface Context {
  teardown(undo: () => unknown): void
}

/** A daemon of canned answers behind a real Unix socket, with a token beside it. */
export class FakeNexusd {
  readonly dataDir: string
  readonly socketPath: string
  readonly asked: Asked[] = []
  readonly routes: Record<string, Route>
  readonly #server: Server

  private constructor(dataDir: string, routes: Record<string, Route>) {
    this.dataDir = dataDir
    this.socketPath = join(dataDir, 'run', 'nexus.sock')
    this.routes = routes
    this.#server = createServer((request, response) => void this.#serve(request, response))
  }

  /** @param routes - By method and path, the query left out: `GET /livez`. */
  static async open(t: Context, routes: Record<string, Route> = {}): Promise<FakeNexusd> {
    const fake = new FakeNexusd(shortDir(t), routes)
    mkdirSync(join(fake.dataDir, 'run'))
    writeFileSync(join(fake.dataDir, 'run', 'local.token'), 'nxt_local\n')
    writeFileSync(join(fake.dataDir, 'operator_pin.txt'), 'nxk_operator\n')
    await new Promise<void>((resolve) => fake.#server.listen(fake.socketPath, resolve))
    t.teardown(() => fake.close())
    return fake
  }

  close(): Promise<void> {
    this.#server.closeAllConnections()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const text = Buffer.concat(chunks).toString()
    const { method = '', url = '', headers } = request
    const body: unknown = text === '' ? undefined : JSON.parse(text)
    const asked = { method, url, headers, body, authorization: headers.authorization }
    this.asked.push(asked)
    const route = this.routes[`${method} ${url.split('?')[0]}`]
    const answer = typeof route === 'function' ? route(asked, response) : route
    if (response.headersSent || response.destroyed) return
    const { status, json } = canned(answer) ?? {
      status: 404,
      json: problem('ROUTE_UNKNOWN', 'there is no such route'),
    }
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(json))
  }
}

/** The form of a refusal outside the commands. */
export function problem(code: string, detail: string, remedy = `remedy of ${code}`): object {
  return { type: `/problems/${code}`, title: code, status: 0, detail, code, remedy }
}

/** Facts as the daemon streams them; the stream stays open. */
export function streamFacts(response: ServerResponse, facts: readonly object[]): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.flushHeaders()
  for (const fact of facts) {
    const { seq, type } = fact as { seq: number; type: string }
    response.write(`id: ${seq}\nevent: ${type}\ndata: ${JSON.stringify(fact)}\n\n`)
  }
}

/** A server that says these bytes to whoever connects, in these pieces, and then what `then` says. */
export async function rawServer(
  t: Context,
  pieces: readonly (string | Uint8Array)[],
  then: 'close' | 'keep' = 'close',
): Promise<string> {
  const path = join(shortDir(t), 's')
  const server: NetServer = createNetServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => void say(socket, pieces, then))
    t.teardown(() => socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.teardown(() => server.close())
  return path
}

async function say(
  socket: Socket,
  pieces: readonly (string | Uint8Array)[],
  then: 'close' | 'keep',
): Promise<void> {
  for (const piece of pieces) {
    socket.write(piece)
    await new Promise((resolve) => setImmediate(resolve))
  }
  if (then === 'close') socket.end()
}

export interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly input?: string
  /** Closes standard output before anything is read from it, as `head -0` would. */
  readonly leaveAtOnce?: boolean
  /** Sees standard output as it grows. */
  readonly onOut?: (out: string, kill: (signal: NodeJS.Signals) => void) => void
}

/** Runs a program of this project to its end, with nothing in its environment that the test did not put there. */
export function runProgram(file: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const program = fileURLToPath(new URL(`../../${file}`, import.meta.url))
  const { PATH = '', HOME = '' } = process.env
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], {
      env: { PATH, HOME, NODE_NO_WARNINGS: '1', NODE_DISABLE_COMPILE_CACHE: '1', ...options.env },
      ...(options.cwd !== undefined && { cwd: options.cwd }),
    })
    let out = ''
    let err = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text
      options.onOut?.(out, (signal) => child.kill(signal))
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      err += text
    })
    if (options.leaveAtOnce) child.stdout.destroy()
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, out, err }))
    child.stdin.on('error', () => {})
    child.stdin.end(options.input ?? '')
  })
}

function canned(answer: unknown): { status: number; json: unknown } | undefined {
  if (answer === undefined) return undefined
  if (typeof answer === 'object' && answer !== null && 'status' in answer && 'json' in answer) {
    return answer as { status: number; json: unknown }
  }
  return { status: 200, json: answer }
}
