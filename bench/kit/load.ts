import { Agent, get } from 'node:http'

/** What an app of the comparison answers: `<version> <pid>`. */
export interface Served {
  readonly version: string
  readonly pid: number
}

/** One request; undefined when anything but an answer with 200 comes back within `timeoutMs`. */
export function ask(port: number, agent?: Agent, timeoutMs = 5_000, path = '/'): Promise<Served | undefined> {
  return new Promise((resolve) => {
    const request = get(
      { host: '127.0.0.1', port, path, agent: agent ?? false, timeout: timeoutMs },
      (response) => {
        let body = ''
        response.setEncoding('utf8').on('data', (chunk) => (body += chunk))
        response.on('error', () => resolve(undefined))
        response.on('end', () => {
          const [version = '', pid] = body.split(' ')
          resolve(response.statusCode === 200 ? { version, pid: Number(pid) } : undefined)
        })
      },
    )
    request.on('error', () => resolve(undefined))
    request.on('timeout', () => request.destroy(new Error('no answer')))
  })
}

export interface LoadResult {
  readonly ok: number
  readonly failed: number
  /** When each version answered first, on the clock of `performance.now`. */
  readonly firstMs: ReadonlyMap<string, number>
  /** Longest time without an answer. */
  readonly gapMs: number
  /** Time without an answer when it was stopped. */
  readonly silentMs: number
  /** The version that answered last. */
  readonly last: string | undefined
}

/** Asks every `everyMs`, on new connections or on kept ones, until it is stopped. */
export function startLoad(port: number, everyMs: number, keepAlive = false): { stop(): Promise<LoadResult> } {
  const agent = keepAlive ? new Agent({ keepAlive: true, maxSockets: 32 }) : undefined
  const firstMs = new Map<string, number>()
  const pending = new Set<Promise<void>>()
  let [ok, failed, gapMs, answeredMs] = [0, 0, 0, performance.now()]
  let last: string | undefined
  const timer = setInterval(() => {
    const asked = ask(port, agent).then((answer) => {
      pending.delete(asked)
      if (answer === undefined) {
        failed += 1
        return
      }
      ok += 1
      const nowMs = performance.now()
      gapMs = Math.max(gapMs, nowMs - answeredMs)
      answeredMs = nowMs
      last = answer.version
      if (!firstMs.has(answer.version)) firstMs.set(answer.version, nowMs)
    })
    pending.add(asked)
  }, everyMs)
  return {
    stop: async () => {
      clearInterval(timer)
      const silentMs = performance.now() - answeredMs
      await Promise.all(pending)
      agent?.destroy()
      return { ok, failed, firstMs, gapMs: Math.max(gapMs, silentMs), silentMs, last }
    },
  }
}
