import type { MaintenanceView } from '../../daemon/contracts/maintenance.ts'
import type { MissionDetail } from '../../daemon/contracts/mission.ts'
import type { Cli } from './cli.ts'
import { EXIT } from './exit.ts'
import { operatorKey } from './key.ts'
import { exitForMission, waitForEnd } from './mission-watch.ts'
import { clean, since, table, tone } from './text.ts'

const PATH = '/v1/admin/maintenance'

interface Ordered {
  readonly maintenance_id: string
  readonly task: string
  readonly next_run: string | null
  readonly mission_id?: string
}

/** `nexus maintenance list`: what is scheduled, and how it ended last. */
export async function list(cli: Cli): Promise<number> {
  const answer = await cli.get<{ maintenance: readonly MaintenanceView[] }>(PATH)
  if (cli.json) cli.printJson(answer)
  else if (answer.maintenance.length === 0) {
    cli.print('nothing is scheduled: nexus maintenance schedule verify --cron "30 2 * * *"\n')
  } else cli.print(maintenanceText(answer.maintenance, cli.clock.now()))
  return EXIT.ok
}

/** `nexus maintenance run <task>`: once, now; exits with the outcome. */
export async function run(cli: Cli, task: string, options: { wait?: boolean }): Promise<number> {
  const ordered = await cli.post<Ordered>(PATH, { task, operator_key: operatorKey(cli) })
  const { mission_id: missionId, maintenance_id: id } = ordered
  if (options.wait === false || missionId === undefined) {
    if (cli.json) cli.printJson(ordered)
    else cli.print(`${id} runs as ${missionId}: nexus missions watch ${missionId}\n`)
    return EXIT.ok
  }
  const mission = await waitForEnd({ ...cli, print: () => {} }, missionId)
  if (cli.json) cli.printJson({ ...ordered, status: mission.status, result: resultOf(mission) })
  else cli.print(`${outcomeText(mission)}\n`)
  return exitForMission(mission.status)
}

/** `nexus maintenance schedule <task>`. */
export async function schedule(
  cli: Cli,
  task: string,
  options: { cron?: string; at?: string; timezone?: string; missed?: string },
): Promise<number> {
  const { cron, at, timezone, missed } = options
  const body = {
    task,
    ...(cron !== undefined && { schedule: cron }),
    ...(at !== undefined && { at }),
    ...(timezone !== undefined && { timezone }),
    ...(missed !== undefined && { missed }),
    operator_key: operatorKey(cli),
  }
  const ordered = await cli.post<Ordered>(PATH, body)
  if (cli.json) cli.printJson(ordered)
  else cli.print(`${ordered.maintenance_id}: ${ordered.task} runs next at ${ordered.next_run}\n`)
  return EXIT.ok
}

/** `nexus maintenance remove <id>`. */
export async function remove(cli: Cli, id: string): Promise<number> {
  const params = { maintenance_id: id, operator_key: operatorKey(cli) }
  const removed = await cli.command<object>('cancel_maintenance', params)
  if (cli.json) cli.printJson(removed)
  else cli.print(`${id} is removed; what runs of it now runs on\n`)
  return EXIT.ok
}

/** For people: the next run, the last outcome. */
export function maintenanceText(rows: readonly MaintenanceView[], nowMs: number): string {
  return table<MaintenanceView>(
    [
      { head: 'ID', cell: ({ maintenance_id: id }) => id },
      { head: 'TASK', cell: ({ task }) => task },
      {
        head: 'WHEN',
        cell: ({ schedule: cron, timezone }) => (cron === null ? 'once' : `${cron} ${timezone}`),
      },
      {
        head: 'NEXT',
        cell: ({ next_run: next, running }) => (running === null ? (next ?? '-') : 'runs now'),
      },
      { head: 'MISSED', align: 'right', cell: ({ missed_runs: missed }) => String(missed) },
      { head: 'LAST', align: 'right', cell: ({ last }) => since(last?.ended_at, nowMs) },
      {
        head: 'OUTCOME',
        cell: ({ last }) => {
          if (last === null) return '-'
          return last.outcome === 'completed' ? last.outcome : `${last.outcome}: ${last.because}`
        },
        paint: (cell, { last }) =>
          tone(last === null ? 'dim' : last.outcome === 'completed' ? 'good' : 'bad', cell),
      },
    ],
    rows,
  )
}

function outcomeText(mission: MissionDetail): string {
  const { status, because, result, validation } = mission
  if (status === 'completed')
    return clean(String((result as { summary?: unknown } | null)?.summary ?? because))
  const blocked = status === 'cancelled' || status === 'suggestion' ? validation.reasons : []
  return clean(`${status}: ${[...blocked, because].join('; ')}`)
}

function resultOf({ result, error, because }: MissionDetail): unknown {
  return error ?? (result as { result?: unknown } | null)?.result ?? { because }
}
