import { pathOf } from '../../aeon-interface/client.ts'
import { probe } from '../../aeon-interface/live.ts'
import type {
  DaemonStatus,
  Explanation,
  ModuleStatus,
  ReloadPlan,
  ReloadResult,
} from '../../daemon/contracts/status.ts'
import { parseAction, parseDuration, parseInteger, parseJson, parseValue } from './arguments.ts'
import type { Cli } from './cli.ts'
import { EXIT } from './exit.ts'
import { operatorKey } from './key.ts'
import {
  daemonText,
  explanationText,
  modulesText,
  moduleText,
  planText,
  reloadSentence,
} from './module-text.ts'
import { clearScreen, watch } from './watch.ts'

/** What `scale_module` takes. */
const REPLICAS_MAX = 64

/** `nexus status [module]`: exit 1 when the daemon is not ready, or the module is unhealthy. */
export async function status(
  cli: Cli,
  moduleId: string | undefined,
  options: { watch?: boolean },
): Promise<number> {
  const show = moduleId === undefined ? () => showDaemon(cli) : () => showModule(cli, moduleId)
  return options.watch ? watchIt(cli, show) : show()
}

/** `nexus modules`. */
export async function modules(cli: Cli, options: { watch?: boolean }): Promise<number> {
  const show = async (): Promise<number> => {
    const list = await cli.get<{ modules: ModuleStatus[] }>('/v1/modules')
    if (cli.json) cli.printJson(list)
    else cli.print(modulesText(list.modules, cli.clock.now()))
    return EXIT.ok
  }
  return options.watch ? watchIt(cli, show) : show()
}

/** `nexus reload <module>`: exit 1 when the new code did not hold and the old one serves on. */
export async function reload(
  cli: Cli,
  moduleId: string,
  options: { strategy?: string; generation?: string; dryRun?: boolean },
): Promise<number> {
  const { strategy, generation, dryRun } = options
  const params = {
    module_id: moduleId,
    ...(strategy !== undefined && { strategy }),
    ...(generation !== undefined && { generation }),
    ...(dryRun && { dry_run: true }),
  }
  if (dryRun) {
    const plan = await cli.command<ReloadPlan>('reload_module', params)
    if (cli.json) cli.printJson(plan)
    else cli.print(planText(plan))
    return plan.refused === undefined ? EXIT.ok : EXIT.failed
  }
  return reloaded(cli, await cli.command<ReloadResult>('reload_module', params))
}

/** `nexus rollback <module>`: to the last good generation before the current one, or to the one that is named. */
export async function rollback(
  cli: Cli,
  moduleId: string,
  options: { generation?: string },
): Promise<number> {
  const { generation } = options
  const params = { module_id: moduleId, ...(generation !== undefined && { generation }) }
  return reloaded(cli, await cli.command<ReloadResult>('rollback_module', params))
}

function reloaded(cli: Cli, result: ReloadResult): number {
  if (cli.json) cli.printJson(result)
  else cli.print(`${result.module_id}: ${reloadSentence(result)}\n${result.stack ? `${result.stack}\n` : ''}`)
  return result.rolled_back ? EXIT.failed : EXIT.ok
}

/** `nexus start|stop <module>`. */
export async function setRunning(cli: Cli, command: 'start' | 'stop', moduleId: string): Promise<number> {
  const result = await cli.command<{ module_id: string; state: string }>(`${command}_module`, {
    module_id: moduleId,
  })
  if (cli.json) cli.printJson(result)
  else cli.print(`${result.module_id} is ${result.state}\n`)
  return EXIT.ok
}

/** `nexus unlock <module> --reason …`: opens what an omen locked; the key is shown with this one request. */
export async function unlock(cli: Cli, moduleId: string, options: { reason: string }): Promise<number> {
  interface Unlocked {
    readonly module_id: string
    readonly state: string
    readonly probation_until: string | null
  }
  const params = { module_id: moduleId, operator_key: operatorKey(cli), reason: options.reason }
  const result = await cli.command<Unlocked>('unlock_module', params)
  if (cli.json) cli.printJson(result)
  else cli.print(`${result.module_id} is ${result.state}\n`)
  if (result.probation_until !== null && !cli.json)
    cli.note(`until ${result.probation_until} it is locked again at its seventh failure`)
  return EXIT.ok
}

/** `nexus scale <module> <count>`: exit 1 when not all of them are ready, though they should be. */
export async function scale(cli: Cli, moduleId: string, count: string): Promise<number> {
  interface Scaled {
    readonly replicas: number
    readonly previous: number
    readonly ready: number
    readonly state: string
  }
  const replicas = parseInteger(count, 'the number of instances', 0, REPLICAS_MAX)
  const result = await cli.command<Scaled>('scale_module', { module_id: moduleId, replicas })
  const { previous, ready, state } = result
  if (cli.json) cli.printJson(result)
  else cli.print(`${moduleId}: ${previous} → ${replicas} instances, ${ready} ready; it is ${state}\n`)
  if (ready >= replicas || state === 'stopped') return EXIT.ok
  cli.note(`see \`nexus explain ${moduleId}\` for the others`)
  return EXIT.failed
}

/** `nexus configure <module> <key> <value-json>`. */
export async function configure(cli: Cli, moduleId: string, key: string, text: string): Promise<number> {
  interface Configured {
    readonly value: unknown
    readonly previous: unknown
    readonly applied: 'live' | 'reload'
  }
  const params = { module_id: moduleId, key, value: parseValue(text) }
  const result = await cli.command<Configured>('configure', params)
  if (cli.json) cli.printJson(result)
  else {
    const how = result.applied === 'live' ? 'applied live' : 'applied by a reload'
    const change = `${JSON.stringify(result.previous) ?? 'unset'} → ${JSON.stringify(result.value)}`
    cli.print(`${moduleId}: ${key} ${change}, ${how}\n`)
  }
  return EXIT.ok
}

/** `nexus call <module>/<action> [json]`: prints the output alone. */
export async function call(cli: Cli, target: string, input: string | undefined): Promise<number> {
  const params = {
    ...parseAction(target),
    ...(input !== undefined && { input: parseJson(input, 'the input') }),
    ...(cli.timeoutMs !== undefined && { timeout_ms: Math.ceil(cli.timeoutMs) }),
  }
  // The daemon keeps the caller's deadline and says what it cut; the wire waits a little longer for that.
  const waitMs = (cli.timeoutMs ?? parseDuration('1h')) + 2_000
  const answer = await cli.post<{ result: { output: unknown } }>(`/v1/commands/call_action`, params, {
    timeoutMs: waitMs,
  })
  cli.printJson(cli.json ? answer.result : answer.result.output)
  return EXIT.ok
}

/** `nexus explain <module-or-mission>`. */
export async function explain(cli: Cli, subject: string): Promise<number> {
  const params = subject.includes('/') ? { module_id: subject } : { mission_id: subject }
  const explanation = await cli.command<Explanation>('explain', params)
  if (cli.json) cli.printJson(explanation)
  else cli.print(explanationText(explanation, cli.clock.now()))
  return EXIT.ok
}

/** `nexus metrics [module]`: Prometheus text as it is. */
export async function metrics(cli: Cli, moduleId: string | undefined): Promise<number> {
  const params = moduleId === undefined ? {} : { module_id: moduleId }
  const result = await cli.command<{ text: string }>('get_metrics', params)
  if (cli.json) cli.printJson(result)
  else cli.print(result.text)
  return EXIT.ok
}

async function showDaemon(cli: Cli): Promise<number> {
  const [status, readiness] = await Promise.all([
    cli.get<DaemonStatus>('/v1/status'),
    probe('readiness', cli.socketPath),
  ])
  if (cli.json) cli.printJson(status)
  else cli.print(daemonText(status, readiness.ready, readiness.reasons))
  return readiness.ready ? EXIT.ok : EXIT.failed
}

async function showModule(cli: Cli, moduleId: string): Promise<number> {
  const status = await cli.get<ModuleStatus>(`/v1/status/${pathOf(moduleId)}`)
  if (cli.json) cli.printJson(status)
  else cli.print(moduleText(status, cli.clock.now()))
  return status.health.status === 'unhealthy' ? EXIT.failed : EXIT.ok
}

function watchIt(cli: Cli, show: () => Promise<number>): Promise<number> {
  return watch(cli, ['module.*'], async () => {
    clearScreen(cli)
    await show()
  })
}
