#!/usr/bin/env bash
# An office workstation's day, as far as it goes without a screen: documents, a browser, pictures, mail files, printing.
. "$(dirname "$0")/common.sh"

install libreoffice-writer-nogui libreoffice-calc-nogui poppler-utils
install chromium
install firefox-esr xvfb xauth
install cups cups-client printer-driver-cups-pdf ghostscript
install zip unzip imagemagick evince-common xdg-utils gnupg
did "sign in" as_user 'mkdir -p Documents Pictures .config/autostart; echo "Bonjour" > Documents/note.txt; date'
did "write documents" as_user 'cd Documents && for i in 1 2 3 4 5; do echo "page $i" > d$i.txt; soffice --headless --convert-to odt d$i.txt; done'
did "export them" as_user 'cd Documents && soffice --headless --convert-to pdf *.odt && soffice --headless --convert-to docx d1.odt && pdftotext d1.pdf -'
did "a table" as_user 'cd Documents && seq 100 | paste -sd, > t.csv && soffice --headless --convert-to xlsx t.csv'
did "browse with Chromium" as_user 'cd && timeout 60 chromium --headless --no-sandbox --disable-gpu --screenshot=Pictures/a.png http://deb.debian.org/debian/'
did "browse with Firefox" as_user 'cd && timeout 90 xvfb-run -a firefox-esr --headless --screenshot $HOME/Pictures/b.png http://deb.debian.org/debian/'
did "pictures" as_user 'cd Pictures && convert -size 640x480 xc:white c.png && convert c.png -resize 50% d.jpg && identify d.jpg'
did "pack and unpack" as_user 'zip -r d.zip Documents && mkdir -p u && cd u && unzip -q ../d.zip'
did "tidy up" as_user 'for f in Documents/*.txt; do mv "$f" "${f%.txt}.old"; done; rm -rf u d.zip .cache'
did "a key of one's own" as_user 'gpg --batch --passphrase "" --quick-gen-key alice@example.org && echo x | gpg --batch -e -r alice@example.org > Documents/x.gpg'
did "printing service" systemctl restart cups
did "a printer" bash -c 'lpadmin -p PDF -v cups-pdf:/ -m lsb/usr/cups-pdf/CUPS-PDF_opt.ppd -E || lpadmin -p PDF -E -v file:///dev/null -m raw'
did "print" as_user 'lp -d PDF Documents/d1.pdf Documents/d2.pdf; lpstat -t'
for round in 1 2 3; do
    did "work on, round $round" as_user 'cd Documents && soffice --headless --convert-to pdf d3.odt && cp d3.odt "d3 copy.odt" && sleep 20'
done
