import type {
  DaemonStatus,
  Explanation,
  MissionsBrief,
  ModuleStatus,
  ReloadPlan,
  ReloadResult,
} from '../../daemon/contracts/status.ts'
import { age, clean, duration, fields, since, size, table, tone } from './text.ts'

const GOOD = ['started', 'healthy']
const BAD = ['invalid', 'failed', 'crashloop', 'locked', 'unhealthy']

/** A state in its colour. */
function paintState(state: string, shown: string = state): string {
  if (GOOD.includes(state)) return tone('good', shown)
  return tone(BAD.includes(state) ? 'bad' : 'warn', shown)
}

export function daemonText(status: DaemonStatus, ready: boolean, reasons: readonly string[]): string {
  const { modules, health, security, features } = status
  const states = Object.entries(modules.by_state).map(([state, count]) => `${count} ${state}`)
  const { healthy, degraded, unhealthy } = health.statistics
  return fields([
    ['daemon', 'running'],
    ['ready', ready ? 'yes' : `no: ${reasons.join('; ')}`],
    ['level', status.level],
    ['uptime', age(status.uptime_seconds * 1_000)],
    ['you', `${security.principal} (${security.roles.join(', ')})`],
    ['features', onesThatAreOn(features)],
    ['modules', `${modules.total_discovered} found, ${modules.total_loaded} loaded: ${states.join(', ')}`],
    ['health', `${healthy} healthy, ${degraded} degraded, ${unhealthy} unhealthy`],
    ['missions', missionsSentence(status.missions)],
  ])
}

function missionsSentence({
  queued,
  running,
  awaiting_approval,
  oldest_approval_seconds,
}: MissionsBrief): string {
  const oldest =
    oldest_approval_seconds === null ? '' : ` (for up to ${age(oldest_approval_seconds * 1_000)})`
  return `${queued} queued, ${running} running, ${awaiting_approval} waiting for approval${oldest}`
}

export function modulesText(modules: readonly ModuleStatus[], nowMs: number): string {
  if (modules.length === 0) return 'no modules\n'
  return table<ModuleStatus>(
    [
      { head: 'MODULE', cell: (module) => module.module_id },
      { head: 'STATE', cell: ({ state }) => state, paint: (cell, { state }) => paintState(state, cell) },
      {
        head: 'HEALTH',
        cell: ({ health }) => health.status,
        paint: (cell, { health }) => paintState(health.status, cell),
      },
      { head: 'READY', align: 'right', cell: ({ replicas }) => `${replicas.ready}/${replicas.desired}` },
      { head: 'CPU', align: 'right', cell: (module) => `${sum(module, 'cpu_percent').toFixed(1)}%` },
      { head: 'MEMORY', align: 'right', cell: (module) => size(sum(module, 'memory_bytes')) },
      { head: 'RESTARTS', align: 'right', cell: ({ restarts }) => String(restarts) },
      { head: 'SINCE', align: 'right', cell: (module) => since(module.since, nowMs) },
      { head: 'BECAUSE', cell: (module) => module.because },
    ],
    modules,
  )
}

export function moduleText(module: ModuleStatus, nowMs: number): string {
  const head = fields([
    ['module', module.module_id],
    ['about', module.description || undefined],
    ['state', `${module.state} for ${since(module.since, nowMs)}: ${module.because}`],
    ['desired', module.desired],
    ['next try', module.next_retry_at ?? undefined],
    ['health', [module.health.status, module.health.reason].filter(Boolean).join(': ')],
    ['omen', omenText(module.omen)],
    ['version', `${module.version ?? '-'} (generation ${module.generation?.slice(0, 12) ?? '-'})`],
    ['replicas', `${module.replicas.ready} of ${module.replicas.desired} ready`],
    ['restarts', String(module.restarts)],
    ['isolation', module.isolation],
    ['actions', module.actions.join(', ') || undefined],
    ['categories', module.categories.join(', ') || undefined],
    ['config', JSON.stringify(module.config)],
    ['last reload', module.last_reload === null ? undefined : reloadSentence(module.last_reload)],
  ])
  if (module.instances.length === 0) return head
  const instances = table<ModuleStatus['instances'][number]>(
    [
      { head: 'INSTANCE', cell: ({ instance }) => instance },
      { head: 'PID', align: 'right', cell: ({ pid }) => String(pid) },
      { head: 'STATE', cell: ({ state }) => state },
      { head: 'SINCE', align: 'right', cell: (instance) => since(instance.since, nowMs) },
      { head: 'CPU', align: 'right', cell: (instance) => `${instance.cpu_percent.toFixed(1)}%` },
      { head: 'MEMORY', align: 'right', cell: (instance) => size(instance.memory_bytes) },
      { head: 'LAG', align: 'right', cell: (instance) => duration(instance.loop_lag_ms) },
      { head: 'CALLS', align: 'right', cell: ({ calls }) => String(calls) },
      { head: 'IN FLIGHT', align: 'right', cell: (instance) => String(instance.in_flight) },
      { head: 'GENERATION', cell: ({ generation }) => generation.slice(0, 12) },
    ],
    module.instances,
  )
  return `${head}\n${instances}`
}

function omenText({
  level,
  because,
  held,
  probation_until: until,
}: ModuleStatus['omen']): string | undefined {
  const probation = until === null ? [] : [`on probation until ${until}`]
  const standing = because === null ? [] : [`${held ? 'held' : level}: ${because}`]
  return [...standing, ...probation].join('; ') || undefined
}

/** What a reload came to, in one sentence. */
export function reloadSentence(reload: ReloadResult): string {
  const took = `${duration(reload.duration_ms)}, ${duration(reload.downtime_ms)} down`
  const now = reload.generation?.slice(0, 12) ?? 'none'
  if (reload.rolled_back)
    return `rolled back to ${now} (${reload.phase ?? 'settle'}: ${reload.reason ?? ''}), ${took}`
  if (!reload.reloaded) return `nothing to do: ${reload.reason ?? `generation ${now} runs`}`
  return `generation ${now} in place of ${reload.previous_generation?.slice(0, 12) ?? 'none'} (${reload.strategy}), ${took}`
}

/** What a reload would come to, step by step. */
export function planText(plan: ReloadPlan): string {
  const { module_id: module, strategy, refused } = plan
  const next = plan.generation.slice(0, 12)
  if (refused !== undefined) return `${module}: generation ${next} would not be loaded: ${refused}\n`
  const now = plan.previous_generation?.slice(0, 12) ?? 'none'
  const change = plan.content_changed ? `${now} → ${next}` : `${next} again, its content has not changed`
  const steps = plan.would.map((step, place) => `  ${place + 1}. ${step}\n`)
  return `${module}: ${strategy} reload, generation ${change}\n${steps.join('')}nothing was changed\n`
}

export function explanationText(explanation: Explanation, nowMs: number): string {
  const { state, because, next, remedy } = explanation
  // What blocks may come with its stack: a frame a line, below the line that it belongs to.
  const [blockedOn, ...stack] = explanation.blocked_on?.split('\n') ?? []
  const head = fields([
    ['state', `${state} for ${since(explanation.since, nowMs)}`],
    ['blocked on', blockedOn],
    ['next', next ?? undefined],
    ['remedy', remedy ?? undefined],
  ])
  const withStack = head.replace(/^blocked on .*\n/m, (line) => line + indented(stack, 4))
  const facts = because.map(
    ({ at, seq, type, say, detail }) =>
      `  ${at}  ${seq}  ${type}  ${clean(say)}\n${indented(detail?.split('\n') ?? [], 6)}`,
  )
  return `${withStack}${facts.length === 0 ? '' : `because\n${facts.join('')}`}`
}

function indented(lines: readonly string[], spaces: number): string {
  return lines.map((line) => `${' '.repeat(spaces)}${clean(line).trim()}\n`).join('')
}

function sum(module: ModuleStatus, key: 'cpu_percent' | 'memory_bytes'): number {
  return module.instances.reduce((total, instance) => total + instance[key], 0)
}

function onesThatAreOn(features: DaemonStatus['features']): string {
  const on = Object.entries(features).filter(([, isOn]) => isOn)
  return on.map(([name]) => name).join(', ') || 'none'
}
