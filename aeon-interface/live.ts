import type { CriticalModules, Liveness, Readiness } from '../daemon/contracts/status.ts'

/** What can be asked about the daemon's life, and what it then answers. */
export interface ProbeAnswers {
  readonly liveness: Liveness
  readonly readiness: Readiness
  readonly critical: CriticalModules
}
export type ProbeName = keyof ProbeAnswers

/**
 * Asks a daemon over its socket. Never rejects: whatever goes wrong is a no.
 *
 * This file imports nothing and speaks just enough HTTP for a short answer, because a probe starts a process every
 * few seconds: loading `node:http`, or one more file, costs more than asking. Liveness reads no file on its way, so
 * a disk that hangs does not get a daemon killed whose own loop turns.
 */
export function probe<Name extends ProbeName>(
  name: Name,
  socketPath: string = findSocket(),
): Promise<ProbeAnswers[Name]> {
  const { path, key } = PROBES[name]
  const token = name === 'critical' ? readToken(socketPath) : undefined
  const bearer = token === undefined ? '' : `authorization: Bearer ${token}\r\n`
  return new Promise((resolve) => {
    let text = ''
    let running = false
    const socket = process.getBuiltinModule('net').connect(socketPath)
    const giveUp = (reason: string): void => settle(no(name, running, reason))
    const deadline = AbortSignal.timeout(PROBE_MS)
    const expire = (): void => giveUp(`the daemon at ${socketPath} gave no answer within ${PROBE_MS} ms`)
    const settle = (answer: ProbeAnswers[Name]): void => {
      resolve(answer)
      deadline.removeEventListener('abort', expire)
      // On the next turn: the program below has printed and ended by then, which saves it the teardown.
      setImmediate(() => socket.destroy())
    }
    const judge = (body: string): void => {
      const answer = parse(body)
      if (typeof answer?.[key] === 'boolean') settle(answer as unknown as ProbeAnswers[Name])
      else giveUp(String(answer?.['detail'] ?? `what answers at ${socketPath} is not this daemon`))
    }

    deadline.addEventListener('abort', expire)
    socket.on('connect', () => {
      running = true
    })
    socket.on('data', (bytes) => {
      text += bytes.toString()
      const body = bodyOf(text)
      if (body !== undefined) judge(body)
    })
    socket.on('error', () => giveUp(`no daemon answers at ${socketPath}`))
    socket.on('close', () => judge(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)))
    socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost\r\n${bearer}connection: close\r\n\r\n`)
  })
}

/** Whether an answer is the yes that was asked for. */
export function isYes<Name extends ProbeName>(name: Name, answer: ProbeAnswers[Name]): boolean {
  return (answer as unknown as Record<string, unknown>)[PROBES[name].key] === true
}

/** Where the daemon listens: what was named, `NEXUS_SOCKET`, or the place in the default data folder. */
export function findSocket(named?: string): string {
  return named || process.env['NEXUS_SOCKET'] || 'data/run/nexus.sock'
}

/** The local account's token: in the file that `NEXUS_TOKEN_FILE` names, or in the one beside the socket. */
export function readToken(socketPath: string): string | undefined {
  const { readFileSync } = process.getBuiltinModule('fs')
  const beside = `${socketPath.slice(0, socketPath.lastIndexOf('/') + 1)}local.token`
  try {
    return readFileSync(process.env['NEXUS_TOKEN_FILE'] || beside, 'utf8').trim() || undefined
  } catch {
    return undefined // asked without one, the daemon says what is missing
  }
}

/** Below the second after which Kubernetes stops waiting for a probe. */
const PROBE_MS = 900

const PROBES = {
  liveness: { path: '/livez', key: 'live' },
  readiness: { path: '/readyz', key: 'ready' },
  critical: { path: '/v1/critical', key: 'critical' },
} as const satisfies Record<ProbeName, { path: string; key: string }>

/** The body, once as much of it is there as the head says; undefined before, and when the head does not say. */
function bodyOf(text: string): string | undefined {
  const at = text.indexOf('\r\n\r\n') + 4
  const length = at > 3 ? /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, at)) : null
  const body = text.slice(at)
  return length !== null && Buffer.byteLength(body) >= Number(length[1]) ? body : undefined
}

function parse(body: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

/** The answer of a daemon that gives none: nothing is known, so nothing is claimed. */
function no<Name extends ProbeName>(name: Name, running: boolean, reason: string): ProbeAnswers[Name] {
  const timestamp = Date.now() / 1000
  const answers: ProbeAnswers = {
    liveness: { live: false, timestamp, daemon_running: running },
    readiness: {
      ready: false,
      timestamp,
      details: { total_modules: 0, healthy_modules: 0, unhealthy_modules: 0, health_ratio: 0 },
      reasons: [reason],
    },
    critical: { critical: false, timestamp, modules: [] },
  }
  return answers[name]
}

/** The probe as a program: prints the answer and returns the exit code, 0 yes, 1 no, 2 usage. */
async function main(args: string[]): Promise<number> {
  if (process.getBuiltinModule === undefined) {
    console.error(`live.js needs Node ^22.22.0 || >=24, this is ${process.version}`)
    return 2
  }
  const at = args.indexOf('--socket')
  const [, socketPath] = at === -1 ? [] : args.splice(at, 2)
  const name = args[0] ?? ''
  if (args.length !== 1 || !Object.hasOwn(PROBES, name) || (at !== -1 && !socketPath)) {
    print(2, 'usage: live.js liveness|readiness|critical [--socket <path>]')
    return 2
  }
  const answer = await probe(name as ProbeName, findSocket(socketPath))
  print(1, JSON.stringify(answer))
  return isYes(name as ProbeName, answer) ? 0 : 1
}

function print(descriptor: 1 | 2, line: string): void {
  try {
    process.getBuiltinModule('fs').writeSync(descriptor, `${line}\n`)
  } catch {
    // Who closed the output asked only for the exit code.
  }
}

// Leaving at once saves a probe a millisecond; everything is written by then. Node before 22.18 does not say
// whether this is the program.
if (import.meta.main ?? process.argv[1]?.endsWith('live.js')) process.exit(await main(process.argv.slice(2)))
