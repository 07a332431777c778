import { CATEGORIES } from '../../daemon/contracts/ids.ts'
import type { MissionDetail, MissionView } from '../../daemon/contracts/mission.ts'
import { parseInteger, parseJson, parseNumber } from './arguments.ts'
import type { Cli } from './cli.ts'
import { CliError, EXIT } from './exit.ts'
import { namedKey, operatorKey } from './key.ts'
import { createBatch } from './mission-batch.ts'
import { type CreatedMission, createdText, missionsText, missionText } from './mission-text.ts'
import { exitForMission, missionPath, waitForEnd } from './mission-watch.ts'
import { clearScreen, watch } from './watch.ts'

export interface ListOptions {
  readonly status?: string
  readonly category?: string
  readonly decision?: string
  readonly module?: string
  readonly limit?: string
  readonly after?: string
  readonly watch?: boolean
}

/** `nexus missions list`, newest first. */
export async function list(cli: Cli, options: ListOptions): Promise<number> {
  const { status, category, decision, module, limit, after } = options
  const query = new URLSearchParams()
  for (const [key, value] of Object.entries({ status, category, decision, module, limit, after })) {
    if (value !== undefined) query.set(key, value)
  }
  const show = async (): Promise<void> => {
    const page = await cli.get<{ missions: MissionView[]; next: string | null }>(`/v1/missions/list?${query}`)
    if (cli.json) return cli.printJson(page)
    cli.print(missionsText(page.missions, cli.clock.now()))
    if (page.next) cli.note(`more: nexus missions list --after ${page.next}`)
  }
  if (options.watch) {
    return watch(cli, ['mission.*'], async () => {
      clearScreen(cli)
      await show()
    })
  }
  await show()
  return EXIT.ok
}

/** `nexus missions show <id>`. */
export async function show(cli: Cli, missionId: string): Promise<number> {
  print(cli, await cli.get<MissionDetail>(missionPath(missionId)))
  return EXIT.ok
}

export interface CreateOptions {
  readonly category?: string
  readonly batch?: string
  readonly input?: string
  readonly maxTime?: string
  readonly maxSteps?: string
  readonly plan?: string
  readonly priority?: string
  readonly notBefore?: string
  readonly expectedValue?: string
  readonly maxAttempts?: string
  readonly idempotencyKey?: string
  readonly wait?: boolean
}

/** `nexus missions create <goal>`: tells the score and why; with `--wait`, exits with the outcome. */
export async function create(cli: Cli, goal: string | undefined, options: CreateOptions): Promise<number> {
  if (options.batch !== undefined) {
    const others = Object.keys(options).filter((name) => name !== 'batch')
    if (goal === undefined && others.length === 0) return createBatch(cli, options.batch)
    throw new CliError(
      'usage',
      '--batch takes everything from its file',
      'write goal and options on its lines',
    )
  }
  if (goal === undefined) throw new CliError('usage', 'a mission needs a goal', 'or --batch <file>')
  if (options.category === undefined) {
    throw new CliError('usage', 'a mission needs a --category', `one of ${CATEGORIES.join(', ')}`)
  }
  const headers = options.idempotencyKey === undefined ? {} : { 'idempotency-key': options.idempotencyKey }
  const body = createBody(goal, options)
  return tellCreated(cli, await cli.post<CreatedMission>('/v1/missions/create', body, { headers }), options)
}

/** `nexus missions retry <id>`: orders a failed or expired mission once more. */
export async function retry(cli: Cli, missionId: string, options: { wait?: boolean }): Promise<number> {
  const key = namedKey(cli)
  const body = { mission_id: missionId, ...(key !== undefined && { operator_key: key }) }
  return tellCreated(cli, await cli.post<CreatedMission>('/v1/missions/retry', body), options)
}

async function tellCreated(
  cli: Cli,
  created: CreatedMission,
  { wait }: { readonly wait?: boolean },
): Promise<number> {
  if (!wait) {
    if (cli.json) cli.printJson(created)
    else cli.print(createdText(created))
    return EXIT.ok
  }
  if (!cli.json) cli.print(`${createdText(created)}\n`)
  return end(cli, created.mission_id, ['awaiting_approval'])
}

/** The body of create, from what stands on the command line. */
export function createBody(goal: string, options: CreateOptions): object {
  const { category, input, maxTime, maxSteps, plan, priority, notBefore, expectedValue, maxAttempts } =
    options
  const constraints = {
    ...(maxTime !== undefined && { max_time_seconds: parseNumber(maxTime, '--max-time', 0) }),
    ...(maxSteps !== undefined && { max_steps: parseInteger(maxSteps, '--max-steps', 1, 100) }),
  }
  return {
    goal,
    category,
    ...(Object.keys(constraints).length > 0 && { constraints }),
    ...(input !== undefined && { input: parseJson(input, '--input') }),
    ...(plan !== undefined && { plan: parseJson(plan, '--plan') }),
    ...(priority !== undefined && { priority: parseInteger(priority, '--priority', 0, 9) }),
    ...(notBefore !== undefined && { not_before: notBefore }),
    ...(expectedValue !== undefined && { expected_value: parseNumber(expectedValue, '--expected-value', 0) }),
    ...(maxAttempts !== undefined && { max_attempts: parseInteger(maxAttempts, '--max-attempts', 1, 10) }),
  }
}

export interface RunOptions {
  readonly wait?: boolean
  readonly override?: boolean
  readonly reason?: string
  readonly resume?: string
}

/**
 * `nexus missions run <id>`: exits with the outcome; 0 with a note when it is still going.
 *
 * The key goes along only where it decides something: a SAFE mission runs without it.
 */
export async function run(cli: Cli, missionId: string, options: RunOptions): Promise<number> {
  const { override, reason, resume } = options
  const { status } = await cli.get<MissionDetail>(missionPath(missionId))
  const decides = status === 'awaiting_approval' || override || resume !== undefined
  const key = decides ? operatorKey(cli) : namedKey(cli)
  const body = {
    mission_id: missionId,
    ...(key !== undefined && { operator_key: key }),
    ...(override && { override }),
    ...(reason !== undefined && { reason }),
    ...(resume !== undefined && { resume }),
  }
  const timeoutMs = cli.timeoutMs ?? RUN_MS
  const answer = await cli.post<{ status: string; mission: MissionDetail }>('/v1/missions/run', body, {
    timeoutMs,
  })
  if (answer.status === 'accepted' && options.wait) return end(cli, missionId)
  if (cli.json) cli.printJson(answer)
  else print(cli, answer.mission)
  if (answer.status === 'accepted') cli.note(`it is still going: nexus missions watch ${missionId}`)
  return answer.status === 'failed' ? EXIT.failed : EXIT.ok
}

/** `nexus missions approve|reject|cancel <id>`. */
export async function decide(
  cli: Cli,
  decision: 'approve' | 'reject' | 'cancel',
  missionId: string,
  options: { reason?: string; digest?: string },
): Promise<number> {
  const key = decision === 'cancel' ? namedKey(cli) : operatorKey(cli)
  const body = {
    mission_id: missionId,
    ...(key !== undefined && { operator_key: key }),
    ...(options.reason !== undefined && { reason: options.reason }),
    ...(options.digest !== undefined && { digest: options.digest }),
  }
  const mission = await cli.post<MissionView>(`/v1/missions/${decision}`, body)
  if (cli.json) cli.printJson(mission)
  else cli.print(`${mission.mission_id} is ${mission.status}: ${mission.because}\n`)
  return EXIT.ok
}

/** `nexus missions watch <id>`: exits with the outcome. */
export function watchMission(cli: Cli, missionId: string): Promise<number> {
  return end(cli, missionId)
}

/** The daemon waits ten seconds before it answers that the mission is still going. */
const RUN_MS = 30_000

async function end(cli: Cli, missionId: string, stopAt: MissionDetail['status'][] = []): Promise<number> {
  const mission = await waitForEnd(cli, missionId, stopAt)
  if (cli.json) cli.print(`${JSON.stringify(mission)}\n`)
  else cli.print(missionText(mission, cli.clock.now(), false))
  if (mission.status === 'awaiting_approval')
    cli.note(`it waits for an operator: nexus missions approve ${missionId}`)
  return exitForMission(mission.status)
}

function print(cli: Cli, mission: MissionDetail): void {
  if (cli.json) cli.printJson(mission)
  else cli.print(missionText(mission, cli.clock.now()))
}
