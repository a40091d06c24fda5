rule Log4Shell_JNDI_Lookup : log4shell {
    meta:
        description = "Text with a JNDI lookup as Log4Shell uses it"
        author = "Beffroi project"
        reference = "https://nvd.nist.gov/vuln/detail/CVE-2021-44228"
        severity = "medium"
        license = "Apache-2.0"
        date = "2026-11-21"
    strings:
        $plain = /\$\{jndi:(ldaps?|rmi|dns|iiop|corba|nis|nds|https?):\/\/[^\s}]{3,300}\}/ nocase
        $disguised = /\$\{[jndi]{0,3}(\$\{(lower:|upper:|::-|env:[^}]{0,20}:-)[^}]{0,20}\}[jndi]{0,3}){1,12}:/ nocase
        $encoded = "%24%7bjndi%3a" nocase
    condition:
        filesize < 64MB and any of them
}
