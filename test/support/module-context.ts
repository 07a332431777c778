import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { ActionContext, RecordPaths } from '../../daemon/contracts/module.ts'

/** A context for calling a module's actions without a daemon; what they keep and say can be read afterwards. */
export interface FakeContext extends ActionContext {
  readonly kept: Map<string, string>
  readonly said: string[]
}

interface FakeOptions {
  readonly roots?: readonly string[]
  readonly records?: Partial<RecordPaths>
  readonly dataDir?: string
  readonly config?: Readonly<Record<string, unknown>>
  readonly missionId?: string
  readonly signal?: AbortSignal
}

/** Configured as the manifest's defaults say, unless `config` overrides some. */
export function fakeContext(id: string, options: FakeOptions = {}): FakeContext {
  const kept = new Map<string, string>()
  const said: string[] = []
  const manifest = readManifest(id)
  const say = (message: string): void => void said.push(message)
  return {
    kept,
    said,
    id,
    instance: `${id}#1`,
    generation: '0'.repeat(64),
    config: { ...manifest.config?.defaults, ...options.config },
    log: { debug: say, info: say, warn: say, error: say },
    signal: options.signal ?? new AbortController().signal,
    dataDir: options.dataDir ?? '/nonexistent',
    roots: options.roots ?? [],
    ...(options.records === undefined ? {} : { records: options.records as RecordPaths }),
    ...(options.missionId === undefined
      ? {}
      : { mission: { mission_id: options.missionId, epoch: 1, step: 'step', idempotency_token: 'token' } }),
    listen: (name) => `/nonexistent/${name}`,
    notReady: () => {},
    ready: () => {},
    progress: () => {},
    metrics: {
      counter: () => ({ inc: () => {} }),
      gauge: () => ({ set: () => {} }),
      histogram: () => ({ observe: () => {} }),
    },
    nexus: { command: async (name) => Promise.reject(new Error(`${name} is not permitted here`)) },
    async artifact(name, content, mediaType = 'application/octet-stream') {
      const bytes = Buffer.from(content)
      kept.set(name, bytes.toString())
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      return { name, sha256, bytes: bytes.length, media_type: mediaType }
    },
  }
}

/** `module.json` as it stands on disk. */
export function readManifest(id: string): { config?: { defaults?: object }; [field: string]: unknown } {
  return JSON.parse(readFileSync(new URL(`../../modules/${id}/module.json`, import.meta.url), 'utf8'))
}
