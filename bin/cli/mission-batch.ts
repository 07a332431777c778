import { readFileSync } from 'node:fs'
import { BATCH_MAX } from '../../daemon/contracts/mission.ts'
import type { Cli } from './cli.ts'
import { CliError, EXIT } from './exit.ts'
import type { CreatedMission } from './mission-text.ts'
import { clean, tone } from './text.ts'

/** What became of one line: as create would have answered, or refused. */
interface BatchResult {
  readonly status: number
  readonly mission?: CreatedMission
  readonly problem?: { readonly code: string; readonly detail: string; readonly remedy: string }
}
interface Line {
  readonly number: number
  readonly text: string
}

/** `nexus missions create --batch <file>`: one body of create on each line; 1 when one of them was refused. */
export async function createBatch(cli: Cli, file: string): Promise<number> {
  const lines = linesOf(file)
  const results: (BatchResult & { readonly line: number })[] = []
  for (const part of partsOf(lines)) {
    const answer = await send(cli, part, results.length)
    for (const [at, { number }] of part.entries()) {
      const result = { line: number, ...(answer[at] ?? NOTHING) }
      results.push(result)
      if (!cli.json) cli.print(resultLine(result))
    }
  }
  if (cli.json) cli.printJson({ results })
  return results.some(({ mission }) => mission === undefined) ? EXIT.failed : EXIT.ok
}

/** Lines that are no JSON are refused here, in their place, and not sent. */
async function send(cli: Cli, part: readonly Line[], before: number): Promise<readonly BatchResult[]> {
  const read = part.map(({ text }) => parse(text))
  const missions = read.flatMap((one) => ('body' in one ? [one.body] : []))
  if (missions.length === 0) return read.map((one) => ('body' in one ? NOTHING : one))
  try {
    const answer = await cli.post<{ results: BatchResult[] }>(
      '/v1/missions/batch',
      { missions },
      { timeoutMs: cli.timeoutMs ?? BATCH_MS },
    )
    const results = answer.results.values()
    return read.map((one) => ('body' in one ? (results.next().value ?? NOTHING) : one))
  } catch (error) {
    if (before > 0) cli.note(`from line ${part[0]?.number} on nothing was created`)
    throw error
  }
}

function parse(text: string): { readonly body: unknown } | BatchResult {
  try {
    return { body: JSON.parse(text) as unknown }
  } catch (cause) {
    const detail = `the line is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`
    return {
      status: 400,
      problem: { code: 'BAD_REQUEST', detail, remedy: 'write one JSON object on a line' },
    }
  }
}

function resultLine({ line, mission, problem }: BatchResult & { readonly line: number }): string {
  if (mission !== undefined) {
    const { mission_id, status, decision, score } = mission
    return `${line}  ${mission_id}  ${status}  ${decision} ${score.toFixed(1)}\n`
  }
  const { code, detail, remedy } = problem ?? NOTHING.problem
  return `${line}  ${tone('bad', 'refused')}  ${code}: ${clean(detail)} (${clean(remedy)})\n`
}

function linesOf(file: string): readonly Line[] {
  let text: string
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8')
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)
    throw new CliError('usage', `no missions can be read from ${file} (${code})`)
  }
  const lines = text.split('\n').map((line, at) => ({ number: at + 1, text: line.trim() }))
  const filled = lines.filter((line) => line.text !== '')
  if (filled.length === 0)
    throw new CliError('usage', `${file} holds no missions`, 'write one body on each line')
  return filled
}

/** As many lines as one request may carry. */
function* partsOf(lines: readonly Line[]): Generator<readonly Line[]> {
  let part: Line[] = []
  let bytes = 0
  for (const line of lines) {
    const size = Buffer.byteLength(line.text) + 1
    if (part.length > 0 && (part.length === BATCH_MAX || bytes + size > PART_BYTES_MAX)) {
      yield part
      part = []
      bytes = 0
    }
    part.push(line)
    bytes += size
  }
  if (part.length > 0) yield part
}

const NOTHING = {
  status: 500,
  problem: { code: 'INTERNAL', detail: 'the daemon gave no result for this line', remedy: 'ask again' },
} as const satisfies BatchResult
/** A batch has at most 8 MiB; some of it is brackets. */
const PART_BYTES_MAX = 8 * 1_048_576 - 1_024
/** Each may wait for a planner, and then for the disk. */
const BATCH_MS = 120_000
