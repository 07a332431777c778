import type { Fact, FactDraft } from '../../daemon/contracts/fact.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { MissionDetail, MissionProgress } from '../../daemon/contracts/mission.ts'
import type { Principal, Role } from '../../daemon/contracts/roles.ts'
import type { DaemonStatus, ModuleStatus } from '../../daemon/contracts/status.ts'
import { Gate } from '../../daemon/gate/gate.ts'
import type { CommandHandlers, MissionDesk } from '../../daemon/gate/port.ts'
import type { Clock } from '../../daemon/kit/clock.ts'
import type { Credentials } from '../../daemon/security/authenticate.ts'
import type { Daemon } from '../../daemon/surfaces/http/port.ts'

export const KEY = 'nxk_0123456789abcdefghijklmnop'
export const MISSION_ID = `m-${'0'.repeat(26)}`

/** What a test may set while the daemon answers. */
export interface Knobs {
  live: boolean
  ready: boolean
  critical: boolean
  started: boolean
  /** Thrown by every command and mission operation that is let in. */
  failure: unknown
  run: 'ok' | 'failed' | 'accepted'
  readonly facts: Fact[]
  readonly credentials: Credentials[]
  readonly followers: Set<(line: object) => void>
  readonly progress: Set<(missionId: string, progress: MissionProgress) => void>
  append(draft: FactDraft): Promise<Fact>
}

/** A daemon of paper with a real gate: a bearer token is the name of a role, `KEY` is the operator key. */
export function fakeDaemon(clock: Clock): { daemon: Daemon; knobs: Knobs } {
  const listeners = new Set<(fact: Fact) => void>()
  const knobs: Knobs = {
    live: true,
    ready: true,
    critical: true,
    started: true,
    failure: undefined,
    run: 'ok',
    facts: [],
    credentials: [],
    followers: new Set(),
    progress: new Set(),
    append: async (draft) => {
      const seq = knobs.facts.length + 1
      const fact: Fact = { ...draft, v: 1, seq, b: seq, ts: '2026-11-22T10:00:00.000Z', h: 'h' }
      knobs.facts.push(fact)
      for (const listener of listeners) listener(fact)
      return fact
    },
  }
  const orFail = async <T>(value: T): Promise<T> => {
    if (knobs.failure !== undefined) throw knobs.failure
    return value
  }
  const handlers = new Proxy(
    {},
    { get: (_, name) => (params: object) => orFail({ command: name, params }) },
  ) as CommandHandlers
  const desk = {
    create: (body: object, _: unknown, key?: string) =>
      orFail({ replayed: key === 'known', answer: { mission_id: MISSION_ID, ...body } }),
    createAll: (orders: readonly { body: object; idempotencyKey?: string }[]) =>
      orFail(
        orders.map(({ body, idempotencyKey: key }) =>
          key === 'conflict'
            ? new NexusError('IDEMPOTENCY_CONFLICT')
            : { replayed: key === 'known', answer: { mission_id: MISSION_ID, ...body } },
        ),
      ),
    retry: (body: object, _: unknown, key?: string) =>
      orFail({ replayed: key === 'known', answer: { retry_of: MISSION_ID, ...body } }),
    run: () => orFail({ status: knobs.run, mission_id: MISSION_ID, mission: {} }),
    approve: () => orFail({ mission_id: MISSION_ID }),
    reject: () => orFail({ mission_id: MISSION_ID }),
    cancel: () => orFail({ mission_id: MISSION_ID }),
  } as unknown as MissionDesk
  const gate = new Gate({ clock, recorder: knobs, handlers, missions: desk, complain: () => {} })
  const timestamp = clock.now() / 1_000
  const module = { module_id: 'vitals/beat', state: 'started' } as ModuleStatus
  const find = (id: string): ModuleStatus => {
    if (id === module.module_id) return module
    throw new NexusError('MODULE_UNKNOWN', { module: id, nearest: '' })
  }
  const daemon: Daemon = {
    version: '0.1.0',
    live: () => ({ live: knobs.live, timestamp, daemon_running: true }),
    readiness: () => ({
      ready: knobs.ready,
      timestamp,
      details: { total_modules: 1, healthy_modules: 1, unhealthy_modules: 0, health_ratio: 1 },
      reasons: knobs.ready ? [] : ['draining'],
    }),
    critical: () => ({ critical: knobs.critical, timestamp, modules: [] }),
    startedUp: () => knobs.started,
    uptimeSeconds: () => 12.5,
    insecureKey: () => false,
    status: (principal) =>
      ({
        running: true,
        security: { principal: principal.name, roles: principal.roles },
      }) as unknown as DaemonStatus,
    modules: () => [module],
    moduleStatus: find,
    authenticate: (credentials) => {
      knobs.credentials.push(credentials)
      return who(credentials)
    },
    gate,
    missions: {
      get: (id) => {
        if (id !== MISSION_ID) throw new NexusError('MISSION_UNKNOWN', { mission: id })
        return { mission_id: id } as MissionDetail
      },
      list: (filter) => ({ missions: [], count: 0, next: null, filter }),
      onProgress: (listener) => {
        knobs.progress.add(listener)
        return () => knobs.progress.delete(listener)
      },
      artifact: async (_, name) => {
        if (name === 'report.pdf') return { mediaType: 'application/pdf', bytes: Buffer.from('%PDF') }
        if (name === 'report.md')
          return { mediaType: 'text/markdown; charset=utf-8', bytes: Buffer.from('# Report\n') }
        if (name === 'page.html') return { mediaType: 'text/html', bytes: Buffer.from('<script>') }
        throw new NexusError('ARTIFACT_UNKNOWN', { name })
      },
    },
    maintenance: {
      list: () => ({ maintenance: [], count: 0 }),
      get: (id) => {
        throw new NexusError('MAINTENANCE_UNKNOWN', { id })
      },
    },
    insight: {
      omens: () => ({ omens: [] }),
      predictions: () => ({ predictions: [] }),
      templates: () => ({ templates: [] }),
    },
    metricsText: async () => ({ contentType: 'text/plain; version=0.0.4; charset=utf-8', text: 'up 1\n' }),
    facts: {
      read: async (after, limit) => knobs.facts.slice(after, after + limit),
      subscribe: (listener) => {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
      head: () => knobs.facts.length,
    },
    logs: {
      recent: (_, limit) => [{ msg: 'one' }, { msg: 'two' }].slice(-limit),
      subscribe: (_, listener) => {
        knobs.followers.add(listener)
        return () => knobs.followers.delete(listener)
      },
    },
  }
  return { daemon, knobs }
}

function who({ bearer, operatorKeyHeader, bodyKey }: Credentials): Principal {
  const key = operatorKeyHeader ?? bodyKey
  if (key !== undefined && key !== KEY) throw new NexusError('UNAUTHENTICATED')
  if (key === KEY) return { kind: 'key', name: 'operator', roles: ['admin'], permissions: [] }
  if (bearer === 'wrong' || bearer === '') throw new NexusError('UNAUTHENTICATED')
  if (bearer !== undefined) return { kind: 'token', name: bearer, roles: [bearer as Role], permissions: [] }
  return { kind: 'anonymous', name: 'anonymous', roles: ['submitter'], permissions: [] }
}
