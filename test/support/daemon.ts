import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export interface Answer {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: whatever JSON came back; each test looks at what it asserts.
  readonly body: any
}

/** A real daemon in a process of its own, on a Unix socket and free ports. */
export class RunningDaemon {
  readonly dir: string
  readonly child: ChildProcess
  readonly output: string[] = []
  readonly exited: Promise<number | null>
  #token: string | undefined

  private constructor(dir: string, child: ChildProcess) {
    this.dir = dir
    this.child = child
    child.stdout?.on('data', (chunk) => this.output.push(String(chunk)))
    child.stderr?.on('data', (chunk) => this.output.push(String(chunk)))
    this.exited = new Promise((resolve) => child.once('exit', (code) => resolve(code)))
  }

  /** Starts `nexusd` in `dir`, with `dir/modules` and `dir/data`; resolves when the socket answers. */
  static async start(
    dir: string,
    flags: readonly string[] = [],
    { env: more, ...as }: { env?: Record<string, string>; uid?: number; gid?: number } = {},
  ): Promise<RunningDaemon> {
    mkdirSync(join(dir, 'modules'), { recursive: true })
    const args = [join(ROOT, 'bin/nexusd.ts'), '--port', '0', '--metrics-port', '0', ...flags]
    const env = { PATH: process.env['PATH'], HOME: process.env['HOME'], ...more }
    const options = { cwd: dir, env, stdio: 'pipe', ...as } as const
    const daemon = new RunningDaemon(dir, spawn(process.execPath, args, options))
    await daemon.#listening()
    return daemon
  }

  get socket(): string {
    return join(this.dir, 'data/run/nexus.sock')
  }

  get key(): string {
    return readFileSync(join(this.dir, 'data/operator_pin.txt'), 'utf8').trim()
  }

  /** One request over the Unix socket, as the local administrator. */
  ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    this.#token ??= readFileSync(join(this.dir, 'data/run/local.token'), 'utf8').trim()
    const authorization = `Bearer ${this.#token}`
    const json = { 'content-type': 'application/json' }
    return new Promise((resolve, reject) => {
      const call = request(
        {
          socketPath: this.socket,
          method,
          path,
          headers: { authorization, ...(body === undefined ? {} : json), ...headers },
          timeout: 40_000,
        },
        (response) => {
          let text = ''
          response.setEncoding('utf8').on('data', (chunk) => (text += chunk))
          response.on('error', reject)
          response.on('end', () => {
            const isJson = /[/+]json\b/.test(String(response.headers['content-type']))
            resolve({ status: response.statusCode ?? 0, body: isJson ? JSON.parse(text) : text })
          })
        },
      )
      call.on('error', reject)
      call.on('timeout', () => call.destroy(new Error('no answer')))
      call.end(body === undefined ? undefined : JSON.stringify(body))
    })
  }

  command(name: string, params: object): Promise<Answer> {
    return this.ask('POST', `/v1/commands/${name}`, params)
  }

  /** Asks again until the answer is as wanted; bounded. */
  async until(path: string, wanted: (answer: Answer) => boolean, withinMs = 20_000): Promise<Answer> {
    const endMs = performance.now() + withinMs
    for (;;) {
      const answer = await this.ask('GET', path)
      if (wanted(answer)) return answer
      if (performance.now() > endMs) throw new Error(`${path}: ${JSON.stringify(answer.body)}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** Host processes of this daemon, by its own list. */
  hosts(): number[] {
    const file = join(this.dir, 'data/run/hosts.json')
    if (!existsSync(file)) return []
    return [...readFileSync(file, 'utf8').matchAll(/"pid":\s*(\d+)/g)].map(([, pid]) => Number(pid))
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null> {
    this.child.kill(signal)
    return this.exited
  }

  async #listening(): Promise<void> {
    const endMs = performance.now() + 30_000
    let code: number | null | undefined
    void this.exited.then((exit) => (code = exit))
    for (;;) {
      if (existsSync(this.socket) && (await this.#answers())) return
      if (code !== undefined) throw new Error(`nexusd ended with ${code}: ${this.output.join('')}`)
      if (performance.now() > endMs) throw new Error(`nexusd does not answer: ${this.output.join('')}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  async #answers(): Promise<boolean> {
    try {
      const { status } = await this.ask('GET', '/livez')
      return status === 200
    } catch {
      this.#token = undefined // that of a former run
      return false
    }
  }
}

/** Writes a module to `dir/modules`. */
export function writeModule(dir: string, id: string, code: string, manifest: object = {}): void {
  const folder = join(dir, 'modules', id)
  mkdirSync(folder, { recursive: true })
  const content = { id, version: '1.0.0', description: 'a module of a test', ...manifest }
  replace(join(folder, 'module.json'), JSON.stringify(content))
  replace(join(folder, 'index.js'), code)
}

/** As an editor saves: never half of it, and nothing for what is the same. */
function replace(file: string, content: string): void {
  if (existsSync(file) && readFileSync(file, 'utf8') === content) return
  writeFileSync(`${file}~`, content)
  renameSync(`${file}~`, file)
}

/** Whether a process runs; a zombie does not. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
