import { type CommandOutcome, executeCommand } from './client.ts'
import { DaemonError, DaemonUnreachable } from './refusal.ts'
import { json, type Printed, runScript, type Script } from './script.ts'

/** Executes one command. Exit code 1 when it failed; `get_metrics` prints the bare Prometheus text. */
export const commandScript: Script = {
  usage: "<command> ['<json params>']",
  run([name, text = '{}', ...more]) {
    const params = parseParams(text)
    if (!name || name.startsWith('-') || params === undefined || more.length > 0) return undefined
    return printOutcome(name, params)
  },
}

async function printOutcome(name: string, params: Record<string, unknown>): Promise<Printed> {
  const outcome = await outcomeOf(name, params)
  if (name !== 'get_metrics') return { exit: outcome.success ? 0 : 1, text: json(outcome) }
  if (!outcome.success) return { exit: 1, text: json(outcome), to: 'stderr' }
  const { text } = outcome.result as { text: string }
  return { exit: 0, text }
}

async function outcomeOf(name: string, params: Record<string, unknown>): Promise<CommandOutcome> {
  try {
    return await executeCommand(name, params)
  } catch (error) {
    if (!(error instanceof DaemonError || error instanceof DaemonUnreachable)) throw error
    const { message, code, remedy } = error
    return { success: false, error: message, code, remedy }
  }
}

function parseParams(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}

// Node before 22.18 does not say whether this is the program.
if (import.meta.main ?? process.argv[1]?.endsWith('command.js')) await runScript('command.js', commandScript)
