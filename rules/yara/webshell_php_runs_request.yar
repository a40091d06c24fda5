rule Webshell_PHP_Runs_Request : webshell {
    meta:
        description = "PHP page that runs what a request brings"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
        severity = "high"
        license = "Apache-2.0"
        date = "2026-11-21"
    strings:
        $php = /<\?(php|=)/ nocase
        $run = /\b(eval|assert|system|exec|shell_exec|passthru|popen|proc_open|pcntl_exec)\s*\(\s*(@?\s*(base64_decode|gzinflate|str_rot13|stripslashes|urldecode|trim)\s*\(\s*){0,3}@?\$_(GET|POST|REQUEST|COOKIE|SERVER)\b/ nocase
        $ticks = /`\s*\$_(GET|POST|REQUEST|COOKIE)\b/ nocase
        $callback = /\b(array_map|usort|call_user_func(_array)?|register_shutdown_function)\s*\(\s*\$_(GET|POST|REQUEST|COOKIE)\b/ nocase
    condition:
        filesize < 2MB and $php and any of ($run, $ticks, $callback)
}
