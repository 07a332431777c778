import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What NEXUS is compared with as a supervisor; supervisord comes with the system. */
export const SUPERVISORS = ['pm2@7.0.4', 'wattpm@3.67.0', '@platformatic/node@3.65.0', 'node@24']
/** What NEXUS is compared with as a queue; Redis and PostgreSQL come with the system. */
export const QUEUES = [
  'bullmq@6.7.0',
  'ioredis@6.0.0',
  'pg-boss@12.38.0',
  'graphile-worker@0.18.0',
  'pg@8.23.1',
]

/** Installs what NEXUS is compared with into a folder outside the project. */
export function installPeers(dir: string, packages: readonly string[]): void {
  mkdirSync(dir, { recursive: true })
  const list = join(dir, 'package.json')
  // What another suite has installed stays.
  if (!existsSync(list)) writeFileSync(list, '{"private":true}')
  const { status } = spawnSync('npm', ['install', '--no-audit', '--no-fund', ...packages], {
    cwd: dir,
    stdio: 'inherit',
  })
  if (status !== 0) throw new Error(`npm install in ${dir} ended with ${status}`)
}
