/** A page that says which tests hold which rule names only tests that there are. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'

const ROOT = new URL('../../', import.meta.url)

/** Checks each row of `docs/<page>` that begins with the number of a rule; returns the numbers. */
export function checkedRules(page: string): readonly string[] {
  const rows = readFileSync(new URL(`docs/${page}`, ROOT), 'utf8').split('\n').filter(line => /^\| [A-Z]?\d/.test(line))
  return rows.map(row => {
    const [, rule = '', , held = ''] = row.split(/(?<!\\)\|/).map(cell => cell.trim())
    const references = [...held.matchAll(/`([\w/.-]+\.test\.ts)`: ([^;]+)/g)]
    assert.ok(references.length > 0, `no test: ${row}`)
    for (const [, file = '', name = ''] of references) {
      const path = new URL(file.includes('/') ? file : `test/${file}`, ROOT)
      assert.ok(existsSync(path), `${file} is not there: ${row}`)
      assert.ok(readFileSync(path, 'utf8').includes(name.trim()), `${file} has no test "${name.trim()}": ${row}`)
    }
    return rule
  })
}
