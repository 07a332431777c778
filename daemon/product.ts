import { readFileSync } from 'node:fs'

/** The version in package.json, which lies one folder above the sources and two above the compiled files. */
export const VERSION = readVersion()

function readVersion(): string {
  for (const up of ['../package.json', '../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8'))
      if (name === 'aeon-nexus') return String(version)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  return 'unknown'
}
