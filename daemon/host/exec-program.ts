import { access, constants, open, stat } from 'node:fs/promises'
import { basename, delimiter, isAbsolute, join } from 'node:path'
import type { SpawnOrder } from './port.ts'
import { startFailure } from './start-failure.ts'

/** Why a program cannot be started, and what helps. */
interface Fault {
  readonly reason: string
  readonly remedy: string
}

/**
 * Finds the program that a module names: inside its generation when the name has a slash, else on `path`.
 *
 * Looked at before the start, because whatever starts it (`setpriv`, `bwrap`) would report a failure in its own words.
 *
 * @returns Its full path.
 * @throws NexusError `MODULE_START_FAILED`, phase `spawn`, `unloadable` 1, with the facts `file` and `remedy`.
 */
export async function locateProgram(
  { moduleId, dir, command }: Pick<SpawnOrder, 'moduleId' | 'dir' | 'command'>,
  path: string,
): Promise<string> {
  const [name = ''] = command
  const file = name.includes('/') ? join(dir, name) : await findOnPath(name, path)
  if (file === undefined) throw refusal(moduleId, name, absent(name))
  const fault = (await fileFault(name, file)) ?? (await scriptFault(name, file, dir, path))
  if (fault !== undefined) throw refusal(moduleId, name, fault)
  return file
}

function refusal(moduleId: string, file: string, { reason, remedy }: Fault): Error {
  const facts = { unloadable: 1, file, remedy }
  return startFailure(moduleId, 'spawn', `${file} cannot be run: ${reason}; ${remedy}`, facts)
}

function absent(name: string): Fault {
  return {
    reason: 'no program of this name is on PATH',
    remedy: `install ${name} and start the module again, or write ./${name} when it lies in the module's folder`,
  }
}

async function findOnPath(name: string, path: string): Promise<string | undefined> {
  // A folder relative to nothing in particular is a trap, not a place.
  for (const folder of path.split(delimiter).filter(isAbsolute)) {
    const file = join(folder, name)
    if (await isRunnable(file)) return file
  }
  return undefined
}

async function fileFault(name: string, file: string): Promise<Fault | undefined> {
  const stats = await stat(file).catch(() => undefined)
  if (stats === undefined)
    return { reason: 'it is not there', remedy: `put ${name} into the module's folder` }
  if (!stats.isFile()) return { reason: 'it is not a file', remedy: `make ${name} a program` }
  if (await isRunnable(file)) return undefined
  return {
    reason: 'the system does not let it be executed',
    remedy: `run \`chmod u+x ${name}\` in the module's folder; if that is so, its disk is mounted with noexec`,
  }
}

/** A script is started by what its first line names. */
async function scriptFault(
  name: string,
  file: string,
  dir: string,
  path: string,
): Promise<Fault | undefined> {
  const line = await firstLine(file)
  if (!line.startsWith('#!')) return undefined
  if (line.endsWith('\r')) {
    const reason = 'its first line ends with a carriage return, which becomes part of the name it calls'
    return { reason, remedy: `save ${name} with Unix line ends` }
  }
  const [interpreter = '', ...words] = line
    .slice(2)
    .trim()
    .split(/[ \t]+/)
  if (interpreter === '') return undefined
  const remedy = `correct the first line of ${name}, or install what it names and start the module again`
  if (!(await isRunnable(isAbsolute(interpreter) ? interpreter : join(dir, interpreter)))) {
    return { reason: `its first line names ${interpreter}, which is not there or no program`, remedy }
  }
  const sought = basename(interpreter) === 'env' ? words.filter((word) => word !== '-S')[0] : undefined
  // With other options or settings `env` has its own ideas; it says so itself then.
  if (sought === undefined || /^-|=|\//.test(sought)) return undefined
  if ((await findOnPath(sought, path)) !== undefined) return undefined
  return { reason: `its first line names ${sought}, and no program of this name is on PATH`, remedy }
}

async function firstLine(file: string): Promise<string> {
  try {
    const handle = await open(file)
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(LINE_BYTES), 0, LINE_BYTES, 0)
      return buffer.toString('latin1', 0, bytesRead).split('\n')[0] ?? ''
    } finally {
      await handle.close()
    }
  } catch {
    return '' // a program that may be run but not read is no script
  }
}

async function isRunnable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK)
    return (await stat(file)).isFile()
  } catch {
    return false
  }
}

/** As much of a first line as Linux looks at. */
const LINE_BYTES = 256
