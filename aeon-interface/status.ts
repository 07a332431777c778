import { getStatus } from './client.ts'
import { DaemonError, DaemonUnreachable } from './refusal.ts'
import { json, type Printed, runScript, type Script } from './script.ts'

/** The status of the daemon, or of one module, as JSON. Exit code 1 when there is none to tell. */
export const statusScript: Script = {
  usage: '[module_id]',
  run([moduleId, ...more]) {
    return more.length > 0 || moduleId?.startsWith('-') ? undefined : printStatus(moduleId)
  },
}

async function printStatus(moduleId: string | undefined): Promise<Printed> {
  try {
    return { exit: 0, text: json(await getStatus(moduleId)) }
  } catch (error) {
    if (error instanceof DaemonUnreachable) {
      const { message, code, remedy, connected } = error
      return { exit: 1, text: json({ running: connected, error: message, code, remedy }) }
    }
    if (!(error instanceof DaemonError)) throw error
    const { message, code, remedy } = error
    return { exit: 1, text: json({ error: message, code, remedy }) }
  }
}

// Node before 22.18 does not say whether this is the program.
if (import.meta.main ?? process.argv[1]?.endsWith('status.js')) await runScript('status.js', statusScript)
